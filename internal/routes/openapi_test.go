package routes

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/openapitest"
)

// documented is how the document writes a route of Gin's: "GET /v1/keys/{id}".
func documented(route gin.RouteInfo) string {
	return route.Method + " " + routeName(route.Path)
}

// TestEveryRouteIsDocumented compares the routes of each listener with the
// document, in both directions. HEAD is GET without a body, and is in the
// document only where the method has no effect; CONNECT cannot be documented.
func TestEveryRouteIsDocumented(t *testing.T) {
	t.Parallel()
	d := openapitest.Load(t)
	servers := goldenServers(t)
	for tag, server := range map[string]string{"public": "syncing", "operations": "ready", "admin": "admin"} {
		documentedToo := d.Operations(t, tag)
		var routed []string
		for _, route := range servers[server].(*gin.Engine).Routes() {
			operation := documented(route)
			if strings.HasPrefix(operation, "CONNECT ") || strings.HasPrefix(operation, "HEAD ") && !slices.Contains(documentedToo, operation) {
				continue
			}
			routed = append(routed, operation)
		}
		slices.Sort(routed)
		for _, operation := range routed {
			if !slices.Contains(documentedToo, operation) {
				t.Errorf("%s of the %s listener is not in the document", operation, tag)
			}
		}
		for _, operation := range documentedToo {
			if !slices.Contains(routed, operation) {
				t.Errorf("the %s listener has no %s", tag, operation)
			}
		}
	}
}

// strangers are answers of every path that no operation can have in the document.
var strangers = []api.ProblemCode{api.CodeNoSuchPath, api.CodeMethodNotAllowed}

// TestGoldenResponsesMatchTheDocument compares the response of every golden
// request with the document, and each accepted request, too.
func TestGoldenResponsesMatchTheDocument(t *testing.T) {
	t.Parallel()
	d := openapitest.Load(t)
	servers := goldenServers(t)
	checked := 0
	for _, file := range goldenFiles {
		var cases []goldenCase
		loadGolden(t, file, &cases)
		for _, c := range cases {
			if c.Server == "" {
				c.Server = "public"
			}
			request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.raw())))
			if err != nil || !isDocumentable(request) {
				continue
			}
			got := exchange(t, serve(t, servers[c.Server]), request.Method, c.raw())
			if slices.ContainsFunc(strangers, func(code api.ProblemCode) bool { return strings.Contains(got.body, `"`+string(code)+`"`) }) {
				continue
			}
			checked++
			for _, problem := range d.Response(request, got.Response, []byte(got.body)) {
				t.Errorf("%s/%s: %s", file, c.Name, problem)
			}
			if got.StatusCode >= http.StatusMultipleChoices {
				continue
			}
			var sent []byte
			if c.Send != nil {
				sent = []byte(*c.Send)
			}
			for _, problem := range d.Request(request, sent) {
				t.Errorf("%s/%s was accepted: %s", file, c.Name, problem)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d answers were looked at", checked)
	}
}

// isDocumentable leaves out methods and paths that OpenAPI cannot write: any
// method, and any path below a policy's.
func isDocumentable(r *http.Request) bool {
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
	rest, policy := strings.CutPrefix(r.URL.Path, api.PathPolicy)
	return slices.Contains(methods, r.Method) && !(policy && strings.Contains(rest, "/")) && !(r.Method == http.MethodHead && !strings.HasPrefix(r.URL.Path, api.PathAuth))
}
