package routes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenCase is described in testdata/http/README.md.
type goldenCase struct {
	Name    string
	Server  string
	Request []string
	Send    *string
	Status  int
	Headers map[string]*string
	Body    any
}

// raw is the request's bytes.
func (c goldenCase) raw() string {
	lines, body := slices.Clone(c.Request), ""
	if c.Send != nil {
		body = *c.Send
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(append(lines, "Connection: close"), "\r\n") + "\r\n\r\n" + body
}

// goldenFiles are the lists of cases in testdata/http.
var goldenFiles = []string{"verify.json", "auth.json", "paths.json", "operations.json", "listeners.json", "admin.json", "sync.json"}

func TestGoldenRequests(t *testing.T) {
	t.Parallel()
	servers := map[string]*httptest.Server{}
	for name, handler := range goldenServers(t) {
		servers[name] = serve(t, handler)
	}
	keys := loadKeys(t)
	texts := []string{"key-of-nobody"}
	for key := range keys {
		texts = append(texts, key)
	}
	for _, file := range goldenFiles {
		var cases []goldenCase
		loadGolden(t, file, &cases)
		for _, c := range cases {
			t.Run(strings.TrimSuffix(file, ".json")+"/"+c.Name, func(t *testing.T) {
				if c.Server == "" {
					c.Server = "public"
				}
				method, _, _ := strings.Cut(c.Request[0], " ")
				got := exchange(t, servers[c.Server], method, c.raw())
				checkAlways(t, got, texts...)
				c.check(t, got)
			})
		}
	}
}

func (c goldenCase) check(t *testing.T, got reply) {
	t.Helper()
	if got.StatusCode != c.Status {
		t.Errorf("status %d, want %d", got.StatusCode, c.Status)
	}
	for name, want := range c.Headers {
		values, found := got.Header[http.CanonicalHeaderKey(name)]
		switch {
		case want == nil && found:
			t.Errorf("%s is %q, want none", name, values)
		case want != nil && (len(values) != 1 || values[0] != *want):
			t.Errorf("%s is %q, want %q", name, values, *want)
		}
	}
	if strings.Contains(got.Header.Get("Content-Type"), "json") && c.Body != "" {
		var body any
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatalf("the body is no JSON: %v", err)
		}
		if diff := cmp.Diff(c.Body, body); diff != "" {
			t.Errorf("body, want - and got +:\n%s", diff)
		}
		return
	}
	if c.Body != got.body {
		t.Errorf("body %q, want %q", got.body, c.Body)
	}
}
