package extauthz

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/routes"
)

const (
	challenge = `Bearer realm="keytail"`
	invalid   = challenge + `, error="invalid_token"`
)

// TestEveryCode tests the response to Envoy, and to the client, for each verdict.
func TestEveryCode(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{})
	for _, test := range []struct {
		key, want string
		status    int
		code      codes.Code
		challenge string
		needs     []string
	}{
		{"", "MISSING", 401, codes.Unauthenticated, challenge, nil},
		{"short", "MALFORMED", 401, codes.Unauthenticated, invalid, nil},
		{"key-of-nobody", "NOT_FOUND", 401, codes.Unauthenticated, invalid, nil},
		{"key-that-is-off", "DISABLED", 401, codes.Unauthenticated, invalid, nil},
		{"key-that-ended", "EXPIRED", 401, codes.Unauthenticated, invalid, nil},
		{"key-of-an-office", "FORBIDDEN", 403, codes.PermissionDenied, "", nil},
		{"key-of-acme", "FORBIDDEN", 403, codes.PermissionDenied, "", []string{"org_id", "emca"}},
		{"key-of-acme", "FORBIDDEN", 403, codes.PermissionDenied, "", []string{"require_org", "true"}},
		{"key-of-acme", "FORBIDDEN", 403, codes.PermissionDenied, "", []string{"org_id", "acme", "require_project", "true"}},
		{keyRoot, "INSUFFICIENT_PERMISSIONS", 403, codes.PermissionDenied, challenge + `, error="insufficient_scope", scope="unused:scope"`, []string{"policy", "strict"}},
		{"key-of-an-outage", "UNAVAILABLE", 503, codes.Unavailable, "", nil},
		{keyRoot, "VALID", 200, codes.OK, "", []string{"policy", "orders"}},
		{"key-of-acme", "VALID", 200, codes.OK, "", nil},
		{"key-of-acme", "VALID", 200, codes.OK, "", []string{"require_org", "false", "require_project", "false"}},
		{"key-of-acme", "VALID", 200, codes.OK, "", []string{"scope", "orders:read", "org_id", "acme", "project_id", "p1"}},
	} {
		answer := check(t, s, withRequirements(rawRequest("/a", "x-api-key", test.key), test.needs...))
		if result(answer) != test.want || codes.Code(answer.GetStatus().GetCode()) != test.code { //nolint:gosec // a small number
			t.Errorf("%s: %v", test.want, answer)
		}
		if test.status == http.StatusOK {
			continue
		}
		var problem struct {
			Status int
			Code   string
		}
		if err := json.Unmarshal([]byte(answer.GetDeniedResponse().GetBody()), &problem); err != nil || problem.Code != test.want || problem.Status != test.status {
			t.Errorf("%s: got body %s", test.want, answer.GetDeniedResponse().GetBody())
		}
		if status := int(answer.GetDeniedResponse().GetStatus().GetCode()); status != test.status {
			t.Errorf("%s: got status %d", test.want, status)
		}
		have, _ := header(answer, "WWW-Authenticate")
		again, _ := header(answer, "Retry-After")
		store, _ := header(answer, "Cache-Control")
		if have != test.challenge || (again != "") != (test.status == http.StatusServiceUnavailable) || store != "no-store" {
			t.Errorf("%s: %v", test.want, answer)
		}
	}
}

// TestIdentity: the response overwrites the headers that have a value, and removes the
// client's copies of the others, and of the result and the staleness, which no API gets.
// No value can split a header.
func TestIdentity(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{})
	for key, want := range map[string]map[string]string{
		keyRoot:           {"X-Auth-Key-Id": "k1", "X-Auth-User-Id": "u1", "X-Auth-Scopes": "orders:read", "X-Request-Id": "from-the-client"},
		"key-that-is-odd": {"X-Auth-Key-Id": "k1", "X-Auth-User-Id": "%C3%A9%0D%0AX:%20y", "X-Auth-Scopes": "a%20b c%22", "X-Request-Id": "from-the-client"},
	} {
		answer := check(t, s, rawRequest("/a", "x-api-key", key, "x-request-id", "from-the-client", "x-auth-org-id", "forged", "X-AUTH-USER-ID", "forged", "x-auth-result", "forged", "X-Auth-Staleness-Ms", "0"))
		have := map[string]string{}
		for _, h := range answer.GetOkResponse().GetHeaders() {
			have[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
		allowed := answer.GetOkResponse()
		if diff := cmp.Diff([]string{"X-Auth-Org-Id", "X-Auth-Project-Id", "X-Auth-Result", "X-Auth-Staleness-Ms"}, allowed.GetHeadersToRemove()); diff != "" {
			t.Errorf("%s: removed headers: %s", key, diff)
		}
		if len(allowed.GetQueryParametersToRemove()) > 0 {
			t.Errorf("removed parameters: got %v, want none", allowed)
		}
	}
}

// TestRequestID: the server replaces an id that is invalid or is the key.
func TestRequestID(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{})
	for _, sent := range []string{"", "two words", keyRoot, "a,b", strings.Repeat("a", 10_000)} {
		for _, key := range []string{keyRoot, ""} {
			answer := check(t, s, rawRequest("/a", "x-api-key", key, "authorization", "Bearer "+keyRoot, "x-request-id", sent))
			if id, _ := header(answer, "X-Request-Id"); id == sent || !forwardauth.SafeRequestID(id) {
				t.Errorf("X-Request-Id for %.30q: got %.30q", sent, id)
			}
		}
	}
}

// TestKeysInHeaders: the server finds keys in both forms of headers, in any case, in
// repeated headers, and in values that Envoy has joined.
func TestKeysInHeaders(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{sources: []string{"bearer", "x-api-key", "cookie:sid"}})
	both := rawRequest("/a", "x-api-key", keyRoot)
	both.Attributes.Request.Http.Headers = map[string]string{"X-Api-Key": keyOther}
	same := rawRequest("/a", "x-api-key", keyRoot)
	same.Attributes.Request.Http.Headers = map[string]string{"X-Api-Key": keyRoot}
	values := rawRequest("/a")
	values.Attributes.Request.Http.HeaderMap.Headers = []*corev3.HeaderValue{{Key: "x-api-key", Value: keyRoot}}
	for name, test := range map[string]struct {
		ask  *authv3.CheckRequest
		want string
	}{
		"no attributes":                    {&authv3.CheckRequest{}, "MISSING"},
		"no request":                       {&authv3.CheckRequest{Attributes: &authv3.AttributeContext{}}, "MISSING"},
		"nothing at all":                   {nil, "MISSING"},
		"raw":                              {rawRequest("/a", "x-api-key", keyRoot), "VALID"},
		"raw, by another field":            {values, "VALID"},
		"raw, in capitals":                 {rawRequest("/a", "X-API-KEY", keyRoot), "VALID"},
		"raw, bearer":                      {rawRequest("/a", "authorization", "bearer  "+keyRoot), "VALID"},
		"raw, white space around":          {rawRequest("/a", "x-api-key", " \t"+keyRoot+" "), "VALID"},
		"raw, the same twice":              {rawRequest("/a", "x-api-key", keyRoot, "X-Api-Key", keyRoot), "VALID"},
		"raw, in two places":               {rawRequest("/a", "x-api-key", keyRoot, "authorization", "Bearer "+keyRoot), "VALID"},
		"raw, two":                         {rawRequest("/a", "x-api-key", keyRoot, "x-api-key", keyOther), "MALFORMED"},
		"raw, two in two spellings":        {rawRequest("/a", "x-api-key", keyRoot, "X-API-Key", keyOther), "MALFORMED"},
		"raw, two in two places":           {rawRequest("/a", "x-api-key", keyRoot, "authorization", "Bearer "+keyOther), "MALFORMED"},
		"raw, with an underscore":          {rawRequest("/a", "x_api_key", keyRoot), "MISSING"},
		"raw, another scheme":              {rawRequest("/a", "authorization", "Basic "+keyRoot), "MISSING"},
		"raw, a comma in a key":            {rawRequest("/a", "x-api-key", keyComma), "VALID"},
		"raw, Authorization was joined":    {rawRequest("/a", "authorization", "Bearer "+keyComma), "MALFORMED"},
		"raw, joined with nothing":         {rawRequest("/a", "authorization", "Bearer "+keyTail), "MALFORMED"},
		"raw, joined with Bearer":          {rawRequest("/a", "authorization", "Bearer "+keyRoot+",Bearer "+keyOther), "MALFORMED"},
		"raw, a scheme with commas":        {rawRequest("/a", "authorization", `Digest a="b",c=d`, "x-api-key", keyRoot), "VALID"},
		"raw, a cookie":                    {rawRequest("/a", "cookie", "a=1; sid="+keyRoot+"; b=2"), "VALID"},
		"raw, two cookies":                 {rawRequest("/a", "cookie", "sid="+keyRoot, "cookie", "sid="+keyOther), "MALFORMED"},
		"raw, control characters":          {rawRequest("/a", "x-api-key", keyRoot+"\r\nx: y"), "MALFORMED"},
		"raw, not UTF-8":                   {rawRequest("/a", "x-api-key", keyRoot+"\xff"), "MALFORMED"},
		"raw, a pseudo-header":             {rawRequest("/a", ":x-api-key", keyRoot, "", keyRoot), "MISSING"},
		"plain":                            {plainRequest("/a", map[string]string{"x-api-key": keyRoot}), "VALID"},
		"plain, in capitals":               {plainRequest("/a", map[string]string{"X-API-KEY": keyRoot}), "VALID"},
		"plain, two spellings, two keys":   {plainRequest("/a", map[string]string{"X-API-KEY": keyRoot, "x-api-key": keyOther}), "MALFORMED"},
		"plain, joined":                    {plainRequest("/a", map[string]string{"x-api-key": keyComma}), "MALFORMED"},
		"plain, joined with nothing":       {plainRequest("/a", map[string]string{"x-api-key": keyTail}), "MALFORMED"},
		"plain, the same joined":           {plainRequest("/a", map[string]string{"x-api-key": keyRoot + "," + keyRoot}), "MALFORMED"},
		"plain, bearer joined":             {plainRequest("/a", map[string]string{"authorization": "Bearer " + keyTail}), "MALFORMED"},
		"plain, a cookie joined":           {plainRequest("/a", map[string]string{"cookie": "sid=" + keyTail}), "MALFORMED"},
		"plain, a comma in another header": {plainRequest("/a", map[string]string{"x-api-key": keyRoot, "accept": "a,b"}), "VALID"},
		"both forms, two keys":             {both, "MALFORMED"},
		"both forms, one key":              {same, "VALID"},
	} {
		if got := result(check(t, s, test.ask)); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestInvalidRequirementsAreRefused completely: the server never ignores a part of them.
func TestInvalidRequirementsAreRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{sources: []string{"x-api-key", "query:api_key"}})
	for name, test := range map[string]struct {
		extensions []string
		status     int
		code       string
	}{
		"an unknown policy":           {[]string{"policy", "orderz"}, 404, "NO_SUCH_POLICY"},
		"an empty policy":             {[]string{"policy", ""}, 404, "NO_SUCH_POLICY"},
		"a policy with a path":        {[]string{"policy", "a/../open"}, 404, "NO_SUCH_POLICY"},
		"a policy with an escape":     {[]string{"policy", "op%65n"}, 404, "NO_SUCH_POLICY"},
		"a policy in capitals":        {[]string{"policy", "OPEN"}, 404, "NO_SUCH_POLICY"},
		"a policy and a scope":        {[]string{"policy", "open", "scope", "orders:read"}, 400, "BAD_REQUEST"},
		"a policy and an id":          {[]string{"policy", "open", "org_id", "acme"}, 400, "BAD_REQUEST"},
		"a policy and anything":       {[]string{"policy", "open", "x", ""}, 400, "BAD_REQUEST"},
		"an unknown extension":        {[]string{"scopes", "orders:read"}, 400, "BAD_REQUEST"},
		"an extension in capitals":    {[]string{"Scope", "orders:read"}, 400, "BAD_REQUEST"},
		"a key source":                {[]string{"api_key", keyRoot}, 400, "BAD_REQUEST"},
		"an empty scope":              {[]string{"scope", ""}, 400, "BAD_REQUEST"},
		"two spaces between scopes":   {[]string{"scope", "orders:read  orders:write"}, 400, "BAD_REQUEST"},
		"a space at the end":          {[]string{"scope", "orders:read "}, 400, "BAD_REQUEST"},
		"a tab between scopes":        {[]string{"scope", "orders:read\torders:write"}, 400, "BAD_REQUEST"},
		"101 scopes":                  {[]string{"scope", strings.TrimSuffix(strings.Repeat("a ", 101), " ")}, 400, "BAD_REQUEST"},
		"an empty organisation":       {[]string{"scope", "orders:read", "org_id", ""}, 400, "BAD_REQUEST"},
		"an empty project":            {[]string{"project_id", ""}, 400, "BAD_REQUEST"},
		"a requirement as a number":   {[]string{"require_org", "1"}, 400, "BAD_REQUEST"},
		"a requirement in capitals":   {[]string{"require_project", "True"}, 400, "BAD_REQUEST"},
		"an empty requirement":        {[]string{"require_org", ""}, 400, "BAD_REQUEST"},
		"a policy and a requirement":  {[]string{"policy", "open", "require_org", "true"}, 400, "BAD_REQUEST"},
		"an id that would be a query": {[]string{"org_id", "a&scope=orders:read"}, 403, "FORBIDDEN"},
	} {
		answer := check(t, s, withRequirements(rawRequest("/a", "x-api-key", "key-of-acme"), test.extensions...))
		if status := int(answer.GetDeniedResponse().GetStatus().GetCode()); result(answer) != test.code || status != test.status {
			t.Errorf("%s: %v", name, answer)
		}
	}
}

// TestTheClientsPathHasNoEffect: neither its path nor its query sets a
// requirement.
func TestTheClientsPathHasNoEffect(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{})
	for _, path := range []string{
		"/a?scope=orders:read", "/a?policy=open", "/v1/auth/policy/open", "/v1/auth/policy/a/../open", "/v1/auth/policy/strict/../open?scope=",
		"*", "", "//", "/a?%zz&scope=%", "/a?scope", "/a?x=1;y=2", "open", "/a?api_key=" + keyRoot,
	} {
		if got := result(check(t, s, withRequirements(rawRequest(path, "x-api-key", keyRoot), "policy", "strict"))); got != "INSUFFICIENT_PERMISSIONS" {
			t.Errorf("%q: %s", path, got)
		}
		if got := result(check(t, s, withRequirements(rawRequest(path), "policy", "open"))); got != "MISSING" {
			t.Errorf("%q without a key: %s", path, got)
		}
	}
}

// TestKeysInTheQuery are found if the configuration says so, also with a policy.
func TestKeysInTheQuery(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{sources: []string{"x-api-key", "query:api_key"}})
	for path, want := range map[string]string{
		"/a?api_key=" + keyRoot:                         "VALID",
		"/a?x=y&api%5Fkey=" + keyRoot + "&scope=z":      "VALID",
		"/a?api_key=" + keyRoot + "&api_key=" + keyRoot: "VALID",
		"/a?api_key=" + keyRoot + "&api_key=key-of-x":   "MALFORMED",
		"/a?API_KEY=" + keyRoot:                         "MISSING",
		"/a?api_key=":                                   "MISSING",
		"/a?":                                           "MISSING",
		"/a?api_key=" + keyRoot + "&x=%zz":              "BAD_REQUEST",
		"/a?api_key=" + keyRoot + ";x":                  "BAD_REQUEST",
		"/a#?api_key=key-of-x":                          "NOT_FOUND",
	} {
		for _, needs := range [][]string{nil, {"policy", "orders"}, {"scope", "orders:read"}} {
			answer := check(t, s, withRequirements(rawRequest(path), needs...))
			if got := result(answer); got != want {
				t.Errorf("%s, %v: %s, want %s", path, needs, got, want)
			}
			if strings.Contains(answer.String(), keyRoot) {
				t.Errorf("%s: the answer contains the key", path)
			}
		}
	}
	if got := result(check(t, s, withRequirements(rawRequest("/a?api_key="+keyRoot, "x-api-key", keyOther), "policy", "open"))); got != "MALFORMED" {
		t.Errorf("two keys in two places: %s", got)
	}
}

// TestClientAddress: the client is Envoy's peer; X-Forwarded-For counts only if the peer is
// a trusted proxy.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	const office, elsewhere, balancer = "203.0.113.9", "198.51.100.7", "10.0.0.9"
	s := newServer(t, options{proxies: []string{"10.0.0.0/8"}})
	forwarded := func(peer string, hops ...string) *authv3.CheckRequest {
		headers := []string{"x-api-key", "key-of-an-office"}
		for _, hop := range hops {
			headers = append(headers, "x-forwarded-for", hop)
		}
		return withPeer(rawRequest("/a", headers...), socket(peer))
	}
	list := plainRequest("/a", map[string]string{"x-api-key": "key-of-an-office", "x-forwarded-for": office + "," + balancer})
	for name, test := range map[string]struct {
		ask  *authv3.CheckRequest
		want string
	}{
		"the office":                             {forwarded(office), "VALID"},
		"as IPv6":                                {forwarded("::ffff:" + office), "VALID"},
		"another":                                {forwarded(elsewhere), "FORBIDDEN"},
		"another that claims to be the office":   {forwarded(elsewhere, office), "FORBIDDEN"},
		"the same, as Envoy appends":             {forwarded(elsewhere, office+","+elsewhere), "FORBIDDEN"},
		"the office that claims to be another":   {forwarded(office, elsewhere), "VALID"},
		"behind a balancer":                      {forwarded(balancer, office), "VALID"},
		"behind a balancer, as Envoy appends":    {forwarded(balancer, elsewhere+", "+office+","+balancer), "VALID"},
		"another behind a balancer, with a word": {forwarded(balancer, office+", "+elsewhere), "FORBIDDEN"},
		"the same in two headers":                {forwarded(balancer, office, elsewhere), "FORBIDDEN"},
		"a balancer without X-Forwarded-For":     {forwarded(balancer), "FORBIDDEN"},
		"a list in the plain form":               {withPeer(list, socket(balancer)), "VALID"},
		"a Unix socket":                          {withPeer(forwarded(balancer, office), &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: office}}}), "FORBIDDEN"},
		"an internal listener":                   {withPeer(forwarded(balancer, office), &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{}}), "FORBIDDEN"},
		"no address":                             {withPeer(forwarded(balancer, office), nil), "FORBIDDEN"},
		"no socket address":                      {forwarded(""), "FORBIDDEN"},
		"a name":                                 {forwarded("localhost"), "FORBIDDEN"},
	} {
		if got := result(check(t, s, test.ask)); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestTwoSpellingsOfAHeaderHaveAFixedOrder: the server always reads two spellings of
// X-Forwarded-For in the same order.
func TestTwoSpellingsOfAHeaderHaveAFixedOrder(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{proxies: []string{"10.0.0.0/8"}})
	for range 100 {
		r := withPeer(plainRequest("/a", map[string]string{"x-api-key": "key-of-an-office", "X-Forwarded-For": "203.0.113.9", "x-forwarded-for": "198.51.100.7"}), socket("10.0.0.9"))
		if got := result(check(t, s, r)); got != "FORBIDDEN" {
			t.Fatalf("got another result: %s", got)
		}
	}
}

// TestHide: the response removes the key from each place, and nothing else.
func TestHide(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{hides: true, sources: []string{"bearer", "x-api-key", "query:api_key", "cookie:sid"}})
	for name, test := range map[string]struct {
		ask            *authv3.CheckRequest
		remove, params []string
		set            map[string]string
	}{
		"a header":                               {rawRequest("/a?x=1", "x-api-key", keyRoot, "accept", "*/*", "cookie", "a=1"), []string{"X-Api-Key"}, nil, nil},
		"bearer":                                 {rawRequest("/a", "authorization", "Bearer "+keyRoot), []string{"Authorization"}, nil, nil},
		"bearer and basic":                       {plainRequest("/a", map[string]string{"authorization": "Basic a,Bearer b", "x-api-key": keyRoot}), []string{"X-Api-Key"}, nil, map[string]string{"Authorization": "Basic a"}},
		"basic":                                  {rawRequest("/a", "authorization", "Basic a", "x-api-key", keyRoot), []string{"X-Api-Key"}, nil, nil},
		"a digest":                               {rawRequest("/a", "authorization", `Digest a="b", c=d`, "x-api-key", keyRoot), []string{"X-Api-Key"}, nil, nil},
		"the only cookie":                        {rawRequest("/a", "cookie", "sid="+keyRoot), []string{"Cookie"}, nil, nil},
		"a cookie":                               {rawRequest("/a", "cookie", "a=1; sid="+keyRoot+"; b=2", "cookie", "sid="+keyRoot, "cookie", "c=3"), nil, nil, map[string]string{"Cookie": "a=1; b=2; c=3"}},
		"a cookie beside bytes that are no text": {rawRequest("/a", "cookie", "a=\xff; sid="+keyRoot), nil, nil, map[string]string{"Cookie": "a=!"}},
		"a parameter":                            {rawRequest("/a?x=1&api_key=" + keyRoot), nil, []string{"api_key"}, nil},
		"in all spellings":                       {rawRequest("/a?api%5Fkey=" + keyRoot + "&api_key&x=1&%61pi_key="), nil, []string{"api%5Fkey", "api_key", "%61pi_key"}, nil},
		"everywhere at once":                     {rawRequest("/a?api_key="+keyRoot, "authorization", "Bearer "+keyRoot, "x-api-key", keyRoot, "cookie", "sid="+keyRoot), []string{"Authorization", "Cookie", "X-Api-Key"}, []string{"api_key"}, nil},
	} {
		answer := check(t, s, test.ask)
		allowed := answer.GetOkResponse()
		if allowed == nil {
			t.Errorf("%s: %v", name, answer)
			continue
		}
		set := map[string]string{}
		for _, h := range allowed.GetHeaders() {
			if name := h.GetHeader().GetKey(); name != forwardauth.HeaderRequestID && !slices.Contains(identityHeaders, name) {
				set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
			}
		}
		removed := slices.DeleteFunc(slices.Sorted(slices.Values(allowed.GetHeadersToRemove())), func(name string) bool {
			return slices.Contains(identityHeaders, name) || slices.Contains(neverForwarded, name)
		})
		if !slices.Equal(removed, test.remove) || !slices.Equal(allowed.GetQueryParametersToRemove(), test.params) || !maps.Equal(set, test.set) {
			t.Errorf("%s: %v", name, allowed)
		}
	}
}

// panicking is a Validator that panics with the key as the value.
type panicking struct{ fakeKeys }

func (panicking) Validate(_ context.Context, text string, _ *apikey.Request) apikey.Verdict {
	panic(text)
}

// TestPanic: a panic is an outage, and its log line contains nothing of the request.
func TestPanic(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	s := newServer(t, options{validator: panicking{}, logger: zap.New(core)})
	answer := check(t, s, rawRequest("/a?"+keyRoot, "x-api-key", keyRoot, "x-request-id", keyRoot, "x-note", "a-secret"))
	if codes.Code(answer.GetStatus().GetCode()) != codes.Unavailable || answer.GetDeniedResponse().GetStatus().GetCode() != 503 || result(answer) != "UNAVAILABLE" { //nolint:gosec // a small number
		t.Errorf("got %v, want UNAVAILABLE", answer)
	}
	if again, _ := header(answer, "Retry-After"); again == "" {
		t.Errorf("got %v, want Retry-After", answer)
	}
	if logs.FilterMessageSnippet("panicked").Len() != 1 {
		t.Errorf("got log %v", logs.All())
	}
	for _, entry := range logs.All() {
		text, err := json.Marshal(entry.ContextMap())
		if err != nil || strings.Contains(string(text)+entry.Message, keyRoot) || strings.Contains(string(text), "a-secret") {
			t.Errorf("the log contains the request: %s %v", text, err)
		}
	}
}

func TestChecksAreMeasuredByStatus(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	s := newServer(t, options{registry: registry})
	check(t, s, rawRequest("/a", "x-api-key", keyRoot))
	check(t, s, rawRequest("/a", "x-api-key", "key-of-nobody"))
	check(t, s, rawRequest("/a", "x-api-key", "key-of-an-outage"))
	s.authority = nil // a bug
	check(t, s, rawRequest("/a", "x-api-key", keyRoot))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetGauge().GetValue() != 0 {
				t.Errorf("checks are still in flight: %v", m)
			}
			if n := m.GetHistogram().GetSampleCount(); n > 0 {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = n
			}
		}
	}
	const route = " /envoy.service.auth.v3.Authorization/Check"
	if want := map[string]uint64{"200" + route: 1, "401" + route: 1, "503" + route: 2}; !maps.Equal(got, want) {
		t.Errorf("measured %v, want %v", got, want)
	}
}

// TestNothingOfARequestIsLogged at debug level.
func TestNothingOfARequestIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	s := newServer(t, options{logger: zap.New(core)})
	check(t, s, rawRequest("/a?"+keyRoot, "x-api-key", keyRoot, "x-request-id", keyRoot))
	check(t, s, rawRequest("/a?"+keyRoot, "x-api-key", keyRoot, "x-request-id", "id-1"))
	if logs.Len() != 2 || logs.All()[1].ContextMap()["request_id"] != "id-1" {
		t.Errorf("got log %v", logs.All())
	}
	for _, entry := range logs.All() {
		if text, err := json.Marshal(entry.ContextMap()); err != nil || strings.Contains(string(text), keyRoot) {
			t.Errorf("the log contains the key: %s %v", text, err)
		}
	}
}

// TestSameResponsesAsOverHTTP compares responses with those of /v1/auth/policy to
// the same request.
func TestSameResponsesAsOverHTTP(t *testing.T) {
	t.Parallel()
	texts := []string{"bearer", "x-api-key", "header:x-session", "cookie:sid"}
	s := newServer(t, options{sources: texts, proxies: []string{"10.0.0.0/8"}})
	sources, err := forwardauth.ParseKeySources(texts)
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := forwardauth.ParseTrustedProxies([]string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	routes.UseReleaseMode()
	web, err := routes.NewPublic(routes.PublicConfig{Config: forwardauth.Config{
		Validator: newKeys(), KeySources: sources, TrustedProxies: proxies,
		Policies: map[string]forwardauth.Policy{"orders": {Scopes: []string{"orders:read"}}, "strict": {Scopes: []string{"unused:scope"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	key := rapid.SampledFrom(append(slices.Sorted(maps.Keys(newKeys())), "", "x", "key-of-nobody", "a b"))
	name := rapid.SampledFrom([]string{"authorization", "x-api-key", "X-API-Key", "x-session", "cookie", "x-forwarded-for", "x-auth-org-id", "x_api_key"})
	rapid.Check(t, func(rt *rapid.T) {
		policy := rapid.SampledFrom([]string{"orders", "strict", "none", "..", ""}).Draw(rt, "policy")
		peer := rapid.SampledFrom([]string{"203.0.113.9", "10.0.0.9", "198.51.100.7"}).Draw(rt, "peer")
		r := httptest.NewRequest(http.MethodGet, "/v1/auth/policy/"+policy, nil)
		r.RemoteAddr = peer + ":4711"
		r.Header.Set("X-Request-Id", "id-1")
		headers := []string{"x-request-id", "id-1"}
		for range rapid.IntRange(0, 4).Draw(rt, "headers") {
			name, value := name.Draw(rt, "name"), key.Draw(rt, "key")
			switch name {
			case "authorization":
				if r.Header.Get(name) != "" || strings.Contains(value, ",") {
					continue // Envoy would have joined it
				}
				value = "Bearer " + value
			case "cookie":
				value = "sid=" + value
			case "x-forwarded-for":
				value = rapid.SampledFrom([]string{"203.0.113.9", "10.0.0.1", "x", "198.51.100.7, 10.0.0.2"}).Draw(rt, "hop")
			}
			r.Header.Add(name, value)
			headers = append(headers, name, value)
		}
		recorder := httptest.NewRecorder()
		web.ServeHTTP(recorder, r)
		answer := check(t, s, withRequirements(withPeer(rawRequest("/a", headers...), socket(peer)), "policy", policy))
		got := recorder.Result()
		defer func() { _ = got.Body.Close() }()
		if (got.StatusCode == http.StatusOK) != (answer.GetOkResponse() != nil) {
			rt.Fatalf("got %d over HTTP and %v over gRPC", got.StatusCode, answer)
		}
		if denied := answer.GetDeniedResponse(); denied != nil && (int(denied.GetStatus().GetCode()) != got.StatusCode || denied.GetBody() != recorder.Body.String()) {
			rt.Fatalf("got %d %s over HTTP and %v over gRPC", got.StatusCode, recorder.Body, answer)
		}
		for name, values := range got.Header {
			value, found := header(answer, name)
			if answer.GetOkResponse() != nil && !slices.Contains(identityHeaders, name) {
				continue
			}
			if !found && values[0] == "" && slices.Contains(answer.GetOkResponse().GetHeadersToRemove(), name) {
				continue // over HTTP, an empty value replaces the client's
			}
			if !found || value != values[0] {
				rt.Fatalf("%s: got %q over HTTP and %q over gRPC", name, values, value)
			}
		}
	})
}

// TestAJoinedKeyIsNoRequestID: a client that sends its key as its request id, too, and with another one,
// does not get it back.
func TestAJoinedKeyIsNoRequestID(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{sources: []string{"bearer", "x-api-key", "cookie:sid"}})
	for name, ask := range map[string]*authv3.CheckRequest{
		"bearer, raw":    rawRequest("/a", "authorization", "Bearer "+keyRoot+",Bearer "+keyOther, "x-request-id", keyRoot),
		"bearer, second": rawRequest("/a", "authorization", "Bearer "+keyRoot+", Bearer "+keyOther, "x-request-id", keyOther),
		"other scheme":   rawRequest("/a", "authorization", "Basic x,Bearer "+keyOther, "x-request-id", keyOther),
		"header, plain":  plainRequest("/a", map[string]string{"x-api-key": keyComma, "x-request-id": keyOther}),
		"cookie, plain":  plainRequest("/a", map[string]string{"cookie": "a=1,sid=" + keyOther, "x-request-id": keyOther}),
	} {
		if id, _ := header(check(t, s, ask), "X-Request-Id"); id == keyRoot || id == keyOther {
			t.Errorf("%s: the key is the X-Request-Id of the answer", name)
		}
	}
}
