package keytailtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/keytailtest"
)

// orders is the service to be tested. Outside of tests its Validator is a
// keytail.Service or a client.Client.
func orders(keys auth.Validator) http.Handler {
	mux := http.NewServeMux()
	list := func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "orders of %s", auth.FromContext(r.Context()).UserID)
	}
	mux.Handle("GET /orders", auth.ScopeMiddleware("orders:read")(http.HandlerFunc(list)))
	return auth.Middleware(keys)(mux)
}

// get asks the service with a key.
func get(service http.Handler, key string) string {
	request := httptest.NewRequest(http.MethodGet, "/orders", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+key)
	answer := httptest.NewRecorder()
	service.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		return http.StatusText(answer.Code)
	}
	return answer.Body.String()
}

func Example() {
	t := startT() // the *testing.T of your test
	defer t.end()

	v := keytailtest.New(t)
	service := orders(v)
	key := v.Key("orders:read")

	fmt.Println("a key:", get(service, key))
	fmt.Println("another user's:", get(service, v.Add(auth.Key{UserID: "ada", Scopes: []string{"orders:*"}})))
	fmt.Println("without the scope:", get(service, v.Key("invoices:read")))
	fmt.Println("nobody's:", get(service, keytailtest.UnknownKey()))
	v.Outage()
	fmt.Println("keytail does not know:", get(service, key))
	v.Recover()
	v.Revoke(key)
	fmt.Println("revoked:", get(service, key))
	// Output:
	// a key: orders of test-user
	// another user's: orders of ada
	// without the scope: Forbidden
	// nobody's: Unauthorized
	// keytail does not know: Service Unavailable
	// revoked: Unauthorized
}
