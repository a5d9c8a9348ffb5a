package keytailtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/keytailtest"
)

// orders is the service under test. In production its Validator is a keytail.Service
// or a client.Client.
func orders(keys auth.Validator) http.Handler {
	mux := http.NewServeMux()
	list := func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "orders of %s", auth.FromContext(r.Context()).UserID)
	}
	mux.Handle("GET /orders", auth.ScopeMiddleware("orders:read")(http.HandlerFunc(list)))
	return auth.Middleware(keys)(mux)
}

// get sends a request with a key.
func get(service http.Handler, key string) string {
	request := httptest.NewRequest(http.MethodGet, "/orders", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+key)
	response := httptest.NewRecorder()
	service.ServeHTTP(response, request)
	if response.Code != http.StatusOK {
		return http.StatusText(response.Code)
	}
	return response.Body.String()
}

func Example() {
	t := startT() // the *testing.T of your test
	defer t.end()

	v := keytailtest.New(t)
	service := orders(v)
	key := v.Key("orders:read")

	fmt.Println("valid key:", get(service, key))
	fmt.Println("key of another user:", get(service, v.Add(auth.Key{UserID: "ada", Scopes: []string{"orders:*"}})))
	fmt.Println("key without the scope:", get(service, v.Key("invoices:read")))
	fmt.Println("unknown key:", get(service, keytailtest.UnknownKey()))
	v.Outage()
	fmt.Println("outage:", get(service, key))
	v.Recover()
	v.Revoke(key)
	fmt.Println("revoked key:", get(service, key))
	// Output:
	// valid key: orders of test-user
	// key of another user: orders of ada
	// key without the scope: Forbidden
	// unknown key: Unauthorized
	// outage: Service Unavailable
	// revoked key: Unauthorized
}
