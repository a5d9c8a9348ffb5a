package routes

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestOnlyLocalNames: a page whose name resolves to a loopback address reads nothing.
func TestOnlyLocalNames(t *testing.T) {
	t.Parallel()
	handler := OnlyLocalNames(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for host, want := range map[string]int{
		"localhost:9091": http.StatusTeapot, "LOCALHOST.": http.StatusTeapot, "keytail.localhost:80": http.StatusTeapot,
		"127.0.0.1:9091": http.StatusTeapot, "[::1]:9091": http.StatusTeapot, "[::1]": http.StatusTeapot, "10.0.0.7": http.StatusTeapot,
		"":                    http.StatusTeapot,
		"attacker.example":    http.StatusMisdirectedRequest,
		"attacker.example:80": http.StatusMisdirectedRequest,
		"127.0.0.1.example":   http.StatusMisdirectedRequest,
		"notlocalhost":        http.StatusMisdirectedRequest,
		"localhost.example":   http.StatusMisdirectedRequest,
		"2130706433":          http.StatusMisdirectedRequest,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		r.Header.Set("X-Request-Id", "key-of-root")
		r.Header.Set("X-Api-Key", "key-of-root")
		got := answerOf(handler, r)
		if got.StatusCode != want {
			t.Errorf("%q: status %d, want %d", host, got.StatusCode, want)
		}
		if got.StatusCode == http.StatusMisdirectedRequest {
			checkAlways(t, got, "key-of-root")
			if code := problemCodeOf(t, got.body); code != "WRONG_HOST" {
				t.Errorf("%q: %s", host, code)
			}
		}
	}
}
