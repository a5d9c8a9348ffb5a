package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/auth"
)

// decorated is a Validator that wraps another one, as for a metric.
type decorated struct{ inner auth.Validator }

func (d decorated) Validate(ctx context.Context, key string, r auth.Request) (auth.Verdict, error) {
	return d.inner.Validate(ctx, key, r)
}

// unwrappable is a decorated Validator whose RevocationWatcher the middleware can find.
type unwrappable struct{ decorated }

func (u unwrappable) Unwrap() auth.Validator { return u.inner }

func TestCancelOnRevocationWithoutAWatcherPanics(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		for name, option := range map[string]auth.Option{"CancelOnRevocation": auth.CancelOnRevocation(), "CancelOnOutage": auth.CancelOnOutage()} {
			func() {
				defer func() {
					if text := fmt.Sprint(recover()); !strings.Contains(text, name) || !strings.Contains(text, "Unwrap() auth.Validator") {
						t.Errorf("the panic is %q", text)
					}
				}()
				f.serve(decorated{k}, nil, nil, option)
			}()
		}
	})
}

func TestCancelOnRevocationThroughAWrapper(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		h := f.serve(unwrappable{decorated{unwrappable{decorated{k}}}}, func(_ http.ResponseWriter, r *http.Request) {
			k.put("k", revoked)
			select {
			case <-r.Context().Done():
			case <-time.After(patience):
				t.Error("the key is revoked and the request continues")
			}
		}, nil, auth.CancelOnRevocation())
		checkRefusal(t, send(h, "GET", "/", "X-Api-Key", "k"), 401, "DISABLED", `Bearer realm="keytail", error="invalid_token"`)
	})
}
