package routes

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/openapitest"
	"github.com/keytail/keytail/internal/rights"
)

// wantRights is written down a second time on purpose: whoever changes what a role may
// do says it twice.
var wantRights = map[string]struct {
	role  rights.Role
	bound bool
}{
	"getOpenAPI":        {rights.Viewer, true},
	"statusPage":        {rights.Viewer, false},
	"streamStatusPage":  {rights.Viewer, false},
	"getStatus":         {rights.Viewer, false},
	"getLogLevel":       {rights.Viewer, false},
	"setLogLevel":       {rights.Operator, false},
	"listInstances":     {rights.Viewer, false},
	"syncRevision":      {rights.Viewer, true},
	"streamEvents":      {rights.Viewer, false},
	"listKeys":          {rights.Viewer, true},
	"getKey":            {rights.Viewer, true},
	"explainKey":        {rights.Viewer, true},
	"listAudit":         {rights.Viewer, true},
	"revokeKey":         {rights.Operator, true},
	"revokeLeakedKey":   {rights.Operator, true},
	"revokeKeysOfOwner": {rights.Operator, true},
	"createKey":         {rights.Admin, true},
	"updateKey":         {rights.Admin, true},
	"rotateKey":         {rights.Admin, true},
	"deleteKey":         {rights.Admin, true},
	"keysPage":          {rights.Viewer, true},
	"keyPage":           {rights.Viewer, true},
	"findKeyPage":       {rights.Viewer, true},
	"submitFindKey":     {rights.Viewer, true},
	"revokeKeyPage":     {rights.Operator, true},
	"submitRevokeKey":   {rights.Operator, true},
	"newKeyPage":        {rights.Admin, true},
	"submitNewKey":      {rights.Admin, true},
	"rotateKeyPage":     {rights.Admin, true},
	"submitRotateKey":   {rights.Admin, true},
	"playgroundPage":    {rights.Admin, false},
	"streamPlayground":  {rights.Admin, false},
	"submitPlayground":  {rights.Admin, false},
}

// TestEveryOperationHasARight: an operation of the document has one, and no other has.
func TestEveryOperationHasARight(t *testing.T) {
	t.Parallel()
	documented := openapitest.Load(t).OperationIDs(t, "admin")
	for _, forEveryone := range []string{"GET " + api.PathLive, "GET /ui/{file}", "GET " + pathSignIn, "POST " + pathSignIn, "POST " + pathSignOut} {
		delete(documented, forEveryone)
	}
	for _, r := range adminRights {
		operation := r.method + " " + routeName(r.path)
		if documented[operation] != r.operation {
			t.Errorf("the right of %s is for %s, which is %q in the document", r.operation, operation, documented[operation])
		}
		delete(documented, operation)
	}
	for operation, id := range documented {
		t.Errorf("%s (%s) has no right in adminRights", operation, id)
	}
	if len(adminRights) != len(wantRights) {
		t.Errorf("%d operations have rights, and the test knows %d", len(adminRights), len(wantRights))
	}
}

// busyFeed lets nobody subscribe: a stream would not end.
type busyFeed struct{}

func (busyFeed) Subscribe(string) (Subscription, error) { return nil, events.ErrBusy }

// everyIdentity has a token for each role, bound to an owner and not.
func everyIdentity() fakeAdmins {
	all := fakeAdmins{}
	for _, role := range []rights.Role{rights.None, rights.Viewer, rights.Operator, rights.Admin} {
		all["free-"+role.String()] = rights.Identity{Name: "free", Role: role}
		all["user-"+role.String()] = rights.Identity{Name: "user", Role: role, Owner: managedkey.Owner{UserID: "user-1"}}
		all["org-"+role.String()] = rights.Identity{Name: "org", Role: role, Owner: managedkey.Owner{OrgID: "acme"}}
	}
	return all
}

// TestRoles tries every operation with every role, bound to an owner and not, as a
// token, as a password and as a certificate.
func TestRoles(t *testing.T) {
	t.Parallel()
	callers := everyIdentity()
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Callers, c.Events = callers, busyFeed{} })
	for _, r := range adminRights {
		want := wantRights[r.operation]
		for token, who := range callers {
			allowed := who.Role != rights.None && who.Role >= want.role && (want.bound || who.Owner == managedkey.Owner{})
			for how, prepare := range map[string]func(*http.Request){"bearer": bearer(token), "basic": basic(token), "certificate": certificate(token)} {
				methods := []string{r.method}
				if r.method == http.MethodGet && r.operation != "syncRevision" && r.operation != "streamEvents" && r.operation != "streamStatusPage" && r.operation != "streamPlayground" {
					methods = append(methods, http.MethodHead)
				}
				for _, method := range methods {
					request := httptest.NewRequest(method, strings.NewReplacer(":id", "a", ":file", "style.css").Replace(r.path), nil)
					prepare(request)
					request.Header.Set("Sec-Fetch-Site", "same-origin") // as a form of a page
					got := answerOf(handler, request)
					status := got.StatusCode
					switch {
					case how == "basic" && r.method != http.MethodGet:
						if status != http.StatusUnauthorized {
							t.Errorf("%s by the password of %s: %d", r.operation, token, status)
						}
					case (status == http.StatusForbidden) == allowed || status == http.StatusUnauthorized:
						t.Errorf("%s %s by %s of %s: %d %s", method, r.operation, how, token, status, got.body)
					case !allowed && method != http.MethodHead && problemCodeOf(t, got.body) != "NOT_PERMITTED":
						t.Errorf("%s: %s", r.operation, got.body)
					}
				}
			}
		}
	}
}

// TestARouteWithoutARightIsRefused, even to an admin.
func TestARouteWithoutARightIsRefused(t *testing.T) {
	t.Parallel()
	admin := rights.Identity{Name: "ann", Role: rights.Admin}
	for _, route := range [][2]string{{"GET", "/v1/new"}, {"POST", "/v1/keys/:id"}, {"PUT", "/v1/keys"}, {"", ""}} {
		if checkRight(admin, rightFor(route[0], route[1])) == nil {
			t.Errorf("%s is allowed", route)
		}
	}
}

// certificate is TLS with a verified certificate of this common name.
func certificate(name string) func(*http.Request) {
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name}}}}}
	}
}

func TestCertificatesIdentifyCallers(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Callers = everyIdentity() })
	unverified := func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "free-admin"}}}}
	}
	headers := func(header ...string) func(*http.Request) {
		return func(r *http.Request) {
			certificate("free-admin")(r)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
		}
	}
	for name, test := range map[string]struct {
		prepare func(*http.Request)
		status  int
	}{
		"verified":              {certificate("free-admin"), 200},
		"of nobody":             {certificate("nobody"), 401},
		"not verified":          {unverified, 401},
		"with a wrong token":    {headers("Authorization", "Bearer wrong"), 401},
		"with a weaker token":   {headers("Authorization", "Bearer free-viewer"), 403},
		"with another scheme":   {headers("Authorization", "Digest x"), 401},
		"with an empty header":  {headers("Authorization", ""), 401},
		"from another site":     {headers("Sec-Fetch-Site", "cross-site"), 403},
		"from a sibling":        {headers("Sec-Fetch-Site", "same-site"), 403},
		"from another origin":   {headers("Origin", "https://evil.example"), 403},
		"from the page itself":  {headers("Sec-Fetch-Site", "same-origin"), 200},
		"typed by its user":     {headers("Sec-Fetch-Site", "none"), 200},
		"from the same address": {headers("Origin", "http://example.com"), 200},
	} {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/v1/keys/a/revoke", nil)
		test.prepare(r)
		if got := answerOf(handler, r); got.StatusCode != test.status {
			t.Errorf("%s: %d %s, want %d", name, got.StatusCode, got.body, test.status)
		}
	}
	// Links of other sites may open the status page: it changes nothing.
	r := httptest.NewRequest(http.MethodGet, "/v1/status", nil)
	headers("Sec-Fetch-Site", "cross-site")(r)
	if got := answerOf(handler, r); got.StatusCode != http.StatusOK {
		t.Errorf("reading from another site: %d", got.StatusCode)
	}
}
