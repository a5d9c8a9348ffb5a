package auth_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/keytail/keytail/auth"
)

func TestAValidKeyHasAPrincipal(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("good")
		h := f.serve(k, func(w http.ResponseWriter, r *http.Request) {
			p := auth.FromContext(r.Context())
			_, _ = fmt.Fprint(w, p, p.HasScope("read"), p.HasScope("admin:x"), p.HasScope("write"))
		}, []string{"admin:y"})
		answer := ask(h, "GET", "/", "Authorization", "Bearer good")
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusOK || string(body) != "key id-good of user user-1 true true false" {
			t.Errorf("%d %s", answer.StatusCode, body)
		}
	})
}
