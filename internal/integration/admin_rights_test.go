package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

const adminsWithRights = `ann=admin-token-of-ann role=admin
viewer=admin-token-of-viewer role=viewer
acme=admin-token-of-acme role=admin org_id=acme
old=admin-token-of-old role=admin expires=2020-01-01T00:00:00Z
billing san=spiffe://example.org/billing role=operator org_id=acme
`

// withRights configures callers with different rights.
func withRights(t *testing.T) func(*daemon.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admins")
	if err := os.WriteFile(path, []byte(adminsWithRights), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *daemon.Config) {
		c.AdminTokenFile, c.AdminCertificates, c.AdminAuditReads = path, true, true
	}
}

func token(name string) []string { return []string{"Authorization", "Bearer admin-token-of-" + name} }

// TestRightsOfAdminTokens, from the file of tokens to the database and back: a role
// limits the operations, an owner limits the keys, and the audit has what happened.
func TestRightsOfAdminTokens(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := startAdmin(t, s, shapes()["default"], withRights(t))
		create := func(user, org string, status int, who ...string) string {
			t.Helper()
			return o.mustCall(status, "POST", "/v1/keys", `{"user_id":"`+user+`","org_id":"`+org+`"}`, who...).str("id")
		}
		theirs := create("u", "other", http.StatusCreated)
		own := create("u", "acme", http.StatusCreated, token("acme")...)
		create("u", "other", http.StatusForbidden, token("acme")...)
		create("u", "acme", http.StatusForbidden, token("viewer")...)
		create("u", "acme", http.StatusUnauthorized, token("old")...)
		for _, c := range []struct {
			status            int
			who, method, path string
		}{
			{http.StatusOK, "viewer", "GET", "/v1/keys/" + theirs},
			{http.StatusForbidden, "viewer", "POST", "/v1/keys/" + theirs + "/revoke"},
			{http.StatusOK, "acme", "GET", "/v1/keys/" + own},
			{http.StatusNotFound, "acme", "GET", "/v1/keys/" + theirs},
			{http.StatusNotFound, "acme", "GET", "/v1/keys/" + theirs + "?user_id=u"},
			{http.StatusNotFound, "acme", "GET", "/v1/keys/" + theirs + "/explain?user_id=u&org_id=other"},
			{http.StatusNotFound, "acme", "POST", "/v1/keys/" + theirs + "/revoke?user_id=u"},
			{http.StatusForbidden, "acme", "GET", "/v1/keys?org_id=other"},
			{http.StatusForbidden, "acme", "GET", "/v1/status"},
		} {
			o.mustCall(c.status, c.method, c.path, "", token(c.who)...)
		}
		o.mustCall(http.StatusForbidden, "POST", "/v1/keys/revoke", `{"org_id":"other"}`, token("acme")...)
		if page := o.mustCall(http.StatusOK, "POST", "/v1/keys/revoke", `{"user_id":"u"}`, token("acme")...); page.text == "" || len(page.body["key_ids"].([]any)) != 1 {
			t.Errorf("all keys of u in acme: %s", page.text)
		}
		actions := map[string]int{}
		page := o.mustCall(http.StatusOK, "GET", "/v1/audit", "", token("acme")...)
		for _, e := range page.body["entries"].([]any) {
			entry := e.(map[string]any)
			actions[entry["action"].(string)]++
			if entry["org_id"] != "acme" || entry["key_id"] != own {
				t.Errorf("acme sees the entry %v", entry)
			}
		}
		if actions["create"] != 1 || actions["get"] != 1 || actions["revoke"] != 1 || len(actions) != 3 {
			t.Errorf("acme sees %v in %s", actions, page.text)
		}
	})
}

// TestACertificateIsACaller: TLS verifies it, and its name has rights. No token is sent.
func TestACertificateIsACaller(t *testing.T) {
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	o := startAdmin(t, &node.Server, shapes()["default"], withRights(t))
	own := o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"u","org_id":"acme"}`).str("id")
	theirs := o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"u","org_id":"other"}`).str("id")

	ca, caKey := newCertificate(t, nil, nil, "")
	strangersCA, strangersKey := newCertificate(t, nil, nil, "")
	server := httptest.NewUnstartedServer(o.Admin())
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	t.Cleanup(server.Close)
	status := func(method, path, uri string, signedBy *x509.Certificate, signedWith *ecdsa.PrivateKey, header ...string) int {
		t.Helper()
		leaf, key := newCertificate(t, signedBy, signedWith, uri)
		transport := &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs:      server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
			Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
		}}
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return 0 // TLS has refused it
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	const billing = "spiffe://example.org/billing"
	for name, c := range map[string]struct{ got, want int }{
		"its own key":         {status("GET", "/v1/keys/"+own, billing, ca, caKey), http.StatusOK},
		"another one's key":   {status("GET", "/v1/keys/"+theirs, billing, ca, caKey), http.StatusNotFound},
		"beyond its role":     {status("DELETE", "/v1/keys/"+own, billing, ca, caKey), http.StatusForbidden},
		"from another site":   {status("POST", "/v1/keys/"+own+"/revoke", billing, ca, caKey, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		"another name":        {status("GET", "/v1/keys/"+own, billing+"/x", ca, caKey), http.StatusUnauthorized},
		"another name, token": {status("GET", "/v1/keys/"+own, billing+"/x", ca, caKey, token("viewer")...), http.StatusOK},
		"of a stranger's CA":  {status("GET", "/v1/keys/"+own, billing, strangersCA, strangersKey), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
	if got := status("POST", "/v1/keys/"+own+"/revoke", billing, ca, caKey); got != http.StatusOK {
		t.Errorf("a revocation: %d", got)
	}
	page := o.mustCall(http.StatusOK, "GET", "/v1/audit?action=revoke", "")
	if entries := page.body["entries"].([]any); len(entries) != 1 || entries[0].(map[string]any)["actor"] != "billing" {
		t.Errorf("the audit has %s", page.text)
	}
}

// newCertificate is a client certificate with this URI; without an authority, it is one.
func newCertificate(t *testing.T, by *x509.Certificate, with *ecdsa.PrivateKey, uri string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		by, with = template, key
	} else {
		parsed, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs, template.ExtKeyUsage = []*url.URL{parsed}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, with)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}
