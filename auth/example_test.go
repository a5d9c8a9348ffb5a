package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/keytailtest"
)

// exampleT replaces the *testing.T, which examples do not have.
type exampleT struct{ cleanups []func() }

func (*exampleT) Helper() {}

func (*exampleT) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) end() {
	for _, f := range t.cleanups {
		f()
	}
}

// show prints a service's response to a request with a key.
func show(service http.Handler, target, key string) {
	request := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	request.Header.Set("Authorization", "Bearer "+key)
	response := httptest.NewRecorder()
	service.ServeHTTP(response, request)
	fmt.Println(response.Code, response.Body)
}

func Example() {
	t := &exampleT{}
	defer t.end()
	keys := keytailtest.New(t) // in a service: a keytail.Service or a client.Client

	router := gin.New()
	router.Use(keys.Authenticate())
	router.GET("/orders", auth.RequireScope("orders:read"), func(c *gin.Context) {
		c.String(http.StatusOK, "orders of %s", auth.FromGin(c).UserID)
	})

	show(router, "/orders", keys.Add(auth.Key{UserID: "ada", Scopes: []string{"orders:*"}}))
	show(router, "/orders", keys.Add(auth.Key{UserID: "ada", Scopes: []string{"invoices:read"}}))
	// Output:
	// 200 orders of ada
	// 403 {"type":"about:blank","title":"Forbidden","status":403,"detail":"this API key lacks a required scope","code":"INSUFFICIENT_PERMISSIONS"}
}

// Services without Gin.
func ExampleMiddleware() {
	t := &exampleT{}
	defer t.end()
	keys := keytailtest.New(t)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "orders of %s", auth.FromContext(r.Context()).UserID)
	})
	service := auth.Middleware(keys, auth.Scopes("orders:read"), auth.HideCredentials())(mux)

	show(service, "/orders", keys.Key("orders:read"))
	// Output:
	// 200 orders of test-user
}

// A key that is bound to an organisation is valid only for its routes.
func ExamplePathParam() {
	t := &exampleT{}
	defer t.end()
	keys := keytailtest.New(t)

	router := gin.New()
	router.GET("/orgs/:org/orders", keys.Authenticate(auth.OrgID(auth.PathParam("org"))), func(c *gin.Context) {
		c.String(http.StatusOK, "orders of %s", c.Param("org"))
	})

	key := keys.Add(auth.Key{OrgID: "acme"})
	show(router, "/orgs/acme/orders", key)
	show(router, "/orgs/other/orders", key)
	// Output:
	// 200 orders of acme
	// 403 {"type":"about:blank","title":"Forbidden","status":403,"detail":"this API key must not be used from this address, or for this organisation or project","code":"FORBIDDEN"}
}

// A service with its own format for errors.
func ExampleOnGinRefusal() {
	t := &exampleT{}
	defer t.end()
	keys := keytailtest.New(t)

	router := gin.New()
	router.Use(keys.Authenticate(
		auth.Statuses(map[auth.Code]int{auth.Malformed: http.StatusBadRequest}),
		auth.OnGinRefusal(func(c *gin.Context, refusal auth.Refusal) {
			c.JSON(refusal.Status, gin.H{"error": refusal.Code})
		})))
	router.GET("/orders", func(*gin.Context) {})

	show(router, "/orders", "not a key")
	// Output:
	// 400 {"error":"MALFORMED"}
}

// A long-running handler learns that its key was revoked.
func ExamplePrincipal_Done() {
	t := &exampleT{}
	defer t.end()
	keys := keytailtest.New(t)
	key := keys.Key()

	router := gin.New()
	router.GET("/events", keys.Authenticate(), func(c *gin.Context) {
		principal := auth.FromGin(c)
		done := principal.Done()
		keys.Revoke(key) // in production: another program, at any time
		select {
		case <-done:
			c.String(http.StatusOK, "%v", principal.Err())
		case <-c.Request.Context().Done():
		}
	})

	show(router, "/events", key)
	// Output:
	// 200 the API key is no longer valid: DISABLED
}

// With CancelOnRevocation the request's context is cancelled.
func ExampleCancelOnRevocation() {
	t := &exampleT{}
	defer t.end()
	keys := keytailtest.New(t)
	key := keys.Key()

	router := gin.New()
	router.GET("/report", keys.Authenticate(auth.CancelOnRevocation()), func(c *gin.Context) {
		keys.Revoke(key)
		<-c.Request.Context().Done() // a database query with this context would be cancelled
	})

	show(router, "/report", key)
	// Output:
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"this API key is disabled","code":"DISABLED"}
}
