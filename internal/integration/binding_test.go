package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/gin-gonic/gin"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/client"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/coreauth"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// bindings has every combination of what a key is bound to and what a request names. The
// codes are those of a request that need not name it, and of one that must.
var bindings = []struct{ bound, named, want, wantRequired string }{
	{"", "", "VALID", "VALID"},
	{"", "acme", "VALID", "VALID"},
	{"acme", "", "VALID", "FORBIDDEN"},
	{"acme", "acme", "VALID", "VALID"},
	{"acme", "emca", "FORBIDDEN", "FORBIDDEN"},
}

// dimension is one of the two things that a key can be bound to.
type dimension struct {
	field, require string // in the body, the query, the policies and the documents
	option         func(func(*http.Request) string) auth.Option
	required       func() auth.Option
}

var dimensions = []dimension{
	{"org_id", "require_org", auth.OrgID, auth.RequireOrg},
	{"project_id", "require_project", auth.ProjectID, auth.RequireProject},
}

// bindingRequest is a request with a key of bindings, through one of the surfaces.
type bindingRequest struct {
	dimension
	key      key
	named    string
	required bool
}

// policy is the name of the policy with the requirements of the request.
func (q *bindingRequest) policy() string {
	return fmt.Sprintf("%s.%s.%v", q.field, q.named, q.required)
}

// query has the requirements of the request as /v1/auth takes them.
func (q *bindingRequest) query() url.Values {
	values := url.Values{}
	if q.named != "" {
		values.Set(q.field, q.named)
	}
	if q.required {
		values.Set(q.require, "true")
	}
	return values
}

// options are those of a middleware with the requirements of the request.
func (q *bindingRequest) options() []auth.Option {
	options := []auth.Option{q.option(func(*http.Request) string { return q.named })}
	if q.required {
		options = append(options, q.dimension.required())
	}
	return options
}

// bindingAnswer is what a surface answers: the code, and what a valid key is bound to.
type bindingAnswer struct{ code, org, project string }

// bindingPolicies are the policies of all requests.
func bindingPolicies() map[string]forwardauth.Policy {
	all := map[string]forwardauth.Policy{}
	for _, required := range []bool{false, true} {
		for _, named := range []string{"", "acme", "emca"} {
			org := bindingRequest{dimension: dimensions[0], named: named, required: required}
			project := bindingRequest{dimension: dimensions[1], named: named, required: required}
			all[org.policy()] = forwardauth.Policy{OrgID: named, RequireOrg: required}
			all[project.policy()] = forwardauth.Policy{ProjectID: named, RequireProject: required}
		}
	}
	return all
}

// TestBindingOnEverySurface: a request that names no organisation (project) is for the key's
// own, which every surface answers, unless the request or the configuration requires that
// it is named.
func TestBindingOnEverySurface(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for _, configured := range []bool{false, true} {
			t.Run(fmt.Sprintf("require-binding=%v", configured), func(t *testing.T) {
				t.Parallel()
				r := start(t, s, func(c *daemon.Config) { c.RequireBinding, c.Policies = configured, bindingPolicies() })
				keys := map[string]key{"": r.newKey()}
				for _, d := range dimensions {
					keys[d.field] = r.newKey(bson.E{Key: d.field, Value: "acme"})
				}
				for _, k := range keys {
					mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.validate(k).Code != apikey.NotFound }, "the key is not found")
				}
				for name, ask := range bindingSurfaces(t, r.Daemon) {
					t.Run(name, func(t *testing.T) { testBinding(t, keys, configured, ask) })
				}
			})
		}
	})
}

// testBinding asks a surface about keys, which are those that are bound by their field and
// one that is not.
func testBinding(t *testing.T, keys map[string]key, configured bool, ask func(*bindingRequest) bindingAnswer) {
	for _, d := range dimensions {
		for _, c := range bindings {
			for _, required := range []bool{false, true} {
				q := bindingRequest{dimension: d, key: keys[""], named: c.named, required: required}
				if c.bound != "" {
					q.key = keys[d.field]
				}
				want := bindingAnswer{code: c.want}
				if required || configured {
					want.code = c.wantRequired
				}
				switch {
				case want.code != "VALID":
				case d.field == "org_id":
					want.org = c.bound
				default:
					want.project = c.bound
				}
				if got := ask(&q); got != want {
					t.Errorf("a key with the %s %q, a request for %q, %s %v: got %+v, want %+v", d.field, c.bound, c.named, d.require, required, got, want)
				}
			}
		}
	}
}

// bindingSurfaces are all ways to ask a daemon or an embedded service.
func bindingSurfaces(t *testing.T, d testkit.Daemon) map[string]func(*bindingRequest) bindingAnswer {
	server := httptest.NewServer(d.Public())
	t.Cleanup(server.Close)
	remote, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remote.Close)
	local := coreauth.Validator{Core: d.Core}
	return map[string]func(*bindingRequest) bindingAnswer{
		"verify": func(q *bindingRequest) bindingAnswer { return askVerify(t, d.Public(), q) },
		"forward-auth": func(q *bindingRequest) bindingAnswer {
			return askForwardAuth(d.Public(), "/v1/auth?"+q.query().Encode(), q.key)
		},
		"policy": func(q *bindingRequest) bindingAnswer {
			return askForwardAuth(d.Public(), "/v1/auth/policy/"+q.policy()+"/orders?require_org=false", q.key)
		},
		"gRPC": func(q *bindingRequest) bindingAnswer {
			extensions := map[string]string{}
			for name := range q.query() {
				extensions[name] = q.query().Get(name)
			}
			return askExtAuthz(t, d, q.key, extensions)
		},
		"gRPC with a policy": func(q *bindingRequest) bindingAnswer {
			return askExtAuthz(t, d, q.key, map[string]string{"policy": q.policy()})
		},
		"Gin":             func(q *bindingRequest) bindingAnswer { return askGin(local, q) },
		"net/http":        func(q *bindingRequest) bindingAnswer { return askNetHTTP(local, q) },
		"client":          func(q *bindingRequest) bindingAnswer { return askGin(remote, q) },
		"client net/http": func(q *bindingRequest) bindingAnswer { return askNetHTTP(remote, q) },
	}
}

func askVerify(t *testing.T, public http.Handler, q *bindingRequest) bindingAnswer {
	t.Helper()
	body := map[string]any{"key": q.key.text, q.require: q.required}
	if q.named != "" {
		body[q.field] = q.named
	}
	sent, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, "/v1/keys/verify", strings.NewReader(string(sent)))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	public.ServeHTTP(recorder, request)
	var got struct {
		Code    string
		Org     string `json:"org_id"`
		Project string `json:"project_id"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	return bindingAnswer{got.Code, got.Org, got.Project}
}

func askForwardAuth(public http.Handler, target string, k key) bindingAnswer {
	header := serveWithKey(public, target, k).Header()
	return bindingAnswer{header.Get("X-Auth-Result"), header.Get("X-Auth-Org-Id"), header.Get("X-Auth-Project-Id")}
}

func askExtAuthz(t *testing.T, d testkit.Daemon, k key, extensions map[string]string) bindingAnswer {
	t.Helper()
	response, err := d.ExtAuthz().Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: extensions,
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Path: "/orders?require_org=false", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x-api-key", RawValue: []byte(k.text)}}},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := bindingAnswer{code: "VALID"}
	for _, option := range append(response.GetOkResponse().GetHeaders(), response.GetDeniedResponse().GetHeaders()...) {
		switch value := option.GetHeader().GetValue(); http.CanonicalHeaderKey(option.GetHeader().GetKey()) {
		case "X-Auth-Result":
			got.code = value
		case "X-Auth-Org-Id":
			got.org = value
		case "X-Auth-Project-Id":
			got.project = value
		}
	}
	return got
}

func askGin(v auth.Validator, q *bindingRequest) bindingAnswer {
	var got bindingAnswer
	engine := gin.New()
	engine.GET("/", auth.Authenticate(v, q.options()...), func(c *gin.Context) { got = answerOf(c.Request.Context()) })
	return orRefusal(got, serveWithKey(engine, "/", q.key))
}

func askNetHTTP(v auth.Validator, q *bindingRequest) bindingAnswer {
	var got bindingAnswer
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = answerOf(r.Context()) })
	return orRefusal(got, serveWithKey(auth.Middleware(v, q.options()...)(handler), "/", q.key))
}

func answerOf(ctx context.Context) bindingAnswer {
	p := auth.FromContext(ctx)
	return bindingAnswer{"VALID", p.OrgID, p.ProjectID}
}

// orRefusal is the handler's answer, or the code of the problem if it was not called.
func orRefusal(got bindingAnswer, response *httptest.ResponseRecorder) bindingAnswer {
	var problem struct{ Code string }
	if json.Unmarshal(response.Body.Bytes(), &problem) == nil {
		return bindingAnswer{code: problem.Code}
	}
	return got
}

func serveWithKey(handler http.Handler, target string, k key) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, target, nil)
	request.Header.Set("X-Api-Key", k.text)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}
