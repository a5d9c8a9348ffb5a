package auth_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/keytail/keytail/auth"
)

// decorated is a Validator around another one, as a program has it that counts.
type decorated struct{ inner auth.Validator }

func (d decorated) Validate(ctx context.Context, key string, r auth.Request) (auth.Verdict, error) {
	return d.inner.Validate(ctx, key, r)
}

func TestACancelThatNobodyHearsIsSaidAtOnce(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		defer func() {
			if recover() == nil {
				t.Error("it is made, and a revoked key's stream goes on for ever")
			}
		}()
		f.serve(decorated{k}, func(_ http.ResponseWriter, r *http.Request) {
			k.put("k", revoked)
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
				t.Error("the key is revoked, and the request goes on")
			}
		}, nil, auth.WithRevocationCancel())
	})
}
