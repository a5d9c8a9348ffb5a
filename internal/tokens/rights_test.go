package tokens

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/rights"
)

var now = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)

// openAdmin reads a file of admin tokens.
func openAdmin(t *testing.T, content string, change ...func(*Config)) (*Set, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, content, 0o600)
	config := Config{
		Path: path, Flag: "admin-token-file", Listener: "admin", Rights: true, Certificates: true,
		Now: func() time.Time { return now },
	}
	for _, f := range change {
		f(&config)
	}
	return New(config)
}

func TestRightsOfTokens(t *testing.T) {
	t.Parallel()
	s, err := openAdmin(t, "ann="+tokenA+" role=admin\nbob="+tokenB+"\t role=viewer  user_id=u/1=é org_id=acme expires=2026-11-23T20:00:01Z\n"+
		"old="+tokenA+"x expires=2026-11-23T21:00:00+01:00 role=operator\n")
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]struct {
		identity rights.Identity
		err      error
	}{
		tokenA:       {rights.Identity{Name: "ann", Role: rights.Admin}, nil},
		tokenB:       {rights.Identity{Name: "bob", Role: rights.Viewer, Owner: managedkey.Owner{UserID: "u/1=é", OrgID: "acme"}}, nil},
		tokenA + "x": {rights.Identity{Name: "old", Role: rights.Operator}, rights.ErrExpired},
		"":           {rights.Identity{}, rights.ErrAbsent},
		"none":       {rights.Identity{}, rights.ErrUnknown},
	} {
		identity, err := s.Token(token)
		if identity != want.identity || !errors.Is(err, want.err) {
			t.Errorf("%q is %+v, %v", token, identity, err)
		}
		if _, known := s.Name(token); known != (want.err == nil) {
			t.Errorf("%q is known: %v", token, known)
		}
	}
}

// TestWhoHasSignedIn: by the hash of a token, and only while the file has its line. The
// line of a certificate, which has no token, is nobody's.
func TestWhoHasSignedIn(t *testing.T) {
	t.Parallel()
	s, err := openAdmin(t, "ann="+tokenA+" role=admin\nold="+tokenB+" role=viewer expires=2026-11-23T20:00:00Z\nops san=ops.example.org role=admin\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		hash [sha256.Size]byte
		want string
		err  error
	}{
		"known":   {sha256.Sum256([]byte(tokenA)), "ann", nil},
		"expired": {sha256.Sum256([]byte(tokenB)), "old", rights.ErrExpired},
		"removed": {sha256.Sum256([]byte("removed")), "", rights.ErrUnknown},
		"no hash": {[sha256.Size]byte{}, "", rights.ErrUnknown},
	} {
		if who, err := s.SignedIn(c.hash); who.Name != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

func TestInvalidRightsAreRefused(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"a=" + tokenA:                                                    "it has no role: add role=viewer",
		"a=" + tokenA + " role=":                                         "role must be viewer, operator or admin",
		"a=" + tokenA + " role=root":                                     "role must be viewer, operator or admin",
		"a=" + tokenA + " role=admin role=viewer":                        "an attribute is repeated",
		"a=" + tokenA + " role=admin owner=x":                            "it may have only role=, user_id=, org_id=, expires= and san=",
		"a=" + tokenA + " role=admin admin":                              "it may have only role=",
		"a=" + tokenA + " role=admin user_id=":                           "user_id: the id is empty",
		"a=" + tokenA + " role=admin org_id=" + strings.Repeat("x", 257): "org_id: ",
		"a=" + tokenA + " role=admin expires=2027-01-31":                 "expires must be a time such as",
		"a=" + tokenA + " role=admin san=spiffe://x/y":                   "it has a token and san=",
		"a role=admin":                                                   "it must have the form name=token role=",
		"a san=spiffe://x/y":                                             "it has no role",
		"a san= role=admin":                                              "san must be a URI with a host",
		"a san=*.example.org role=admin":                                 "san must be a URI",
		"a san=spiffe:///y role=admin":                                   "san must be a URI",
		"a san=ann@example.org role=admin":                               "san must be a URI",
		"a san=x.example role=admin\nb san=X.example role=viewer":        "line 2: it has the same san as line 1",
		"a san=x.example role=admin\na san=y.example role=viewer":        "line 2: its name is already used in line 1",
		"a/b san=x.example role=admin":                                   "a name must have",
		"role=admin a=" + tokenA:                                         "the token after name= must have",
	} {
		_, err := openAdmin(t, line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
			continue
		}
		if strings.Contains(err.Error(), tokenA[:15]) || strings.Contains(err.Error(), "root") {
			t.Errorf("the error quotes the line: %v", err)
		}
	}
	if _, err := openAdmin(t, "a san=x.example role=admin", func(c *Config) { c.Certificates = false }); err == nil || !strings.Contains(err.Error(), "--admin-tls-client-ca-file") {
		t.Errorf("san= without certificates of clients: %v", err)
	}
}

// TestNeitherFileIsTakenForTheOther: a caller token is never an admin token.
func TestNeitherFileIsTakenForTheOther(t *testing.T) {
	t.Parallel()
	asCallers := func(c *Config) { c.Rights, c.Flag = false, "caller-token-file" }
	for _, line := range []string{"a=" + tokenA + " role=admin", "a=" + tokenA + " user_id=u", "a san=x.example role=admin"} {
		if _, err := openAdmin(t, line, asCallers); err == nil {
			t.Errorf("%q is a caller's", line)
		}
	}
	s, err := openAdmin(t, "a="+tokenA+" expires=2026-11-23T20:00:00Z\nb="+tokenB+" expires=2026-11-23T20:00:01Z", asCallers)
	if err != nil {
		t.Fatal(err)
	}
	if _, known := s.Name(tokenA); known {
		t.Error("an expired caller token is known")
	}
	if name, known := s.Name(tokenB); name != "b" || !known {
		t.Error("a caller token is unknown before its end")
	}
}

func certificateOf(uris, names []string) *x509.Certificate {
	c := &x509.Certificate{DNSNames: names, NotAfter: now}
	for _, text := range uris {
		uri, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, uri)
	}
	return c
}

func TestCertificatesAreFoundByTheirNames(t *testing.T) {
	t.Parallel()
	s, err := openAdmin(t, `billing san=spiffe://example.org/billing role=operator org_id=acme
ops san=ops.example.org role=admin
odd san=spiffe://example.org role=viewer
late san=late.example.org role=viewer expires=2026-11-23T20:00:00Z
ann=`+tokenA+` role=admin
`)
	if err != nil {
		t.Fatal(err)
	}
	expired := certificateOf(nil, []string{"ops.example.org"})
	expired.NotAfter = now.Add(-time.Second)
	for name, c := range map[string]struct {
		certificate *x509.Certificate
		want        string
		err         error
	}{
		"uri":                      {certificateOf([]string{"spiffe://example.org/billing"}, nil), "billing", nil},
		"dns":                      {certificateOf(nil, []string{"other.example.org", "OPS.example.org"}), "ops", nil},
		"none":                     {nil, "", rights.ErrAbsent},
		"without names":            {certificateOf(nil, nil), "", rights.ErrAbsent},
		"an empty name":            {certificateOf(nil, []string{""}), "", rights.ErrAbsent},
		"a longer path":            {certificateOf([]string{"spiffe://example.org/billing/x"}, nil), "", rights.ErrAbsent},
		"another case in the path": {certificateOf([]string{"spiffe://example.org/Billing"}, nil), "", rights.ErrAbsent},
		"a subdomain":              {certificateOf(nil, []string{"x.ops.example.org"}), "", rights.ErrAbsent},
		"a wildcard":               {certificateOf(nil, []string{"*.example.org"}), "", rights.ErrAbsent},
		"a uri as a dns name":      {certificateOf(nil, []string{"spiffe://example.org/billing"}), "", rights.ErrAbsent},
		"a dns name as a uri":      {certificateOf([]string{"https://ops.example.org"}, nil), "", rights.ErrAbsent},
		"the common name": {func() *x509.Certificate {
			c := certificateOf(nil, nil)
			c.Subject.CommonName = "ops.example.org"
			return c
		}(), "", rights.ErrAbsent},
		"two callers":                 {certificateOf([]string{"spiffe://example.org/billing"}, []string{"ops.example.org"}), "", rights.ErrAmbiguous},
		"two names, one caller":       {certificateOf(nil, []string{"ops.example.org", "ops.example.org"}), "ops", nil},
		"an expired line":             {certificateOf(nil, []string{"late.example.org"}), "late", rights.ErrExpired},
		"an expired certificate":      {expired, "ops", rights.ErrExpired},
		"another line's, not expired": {certificateOf([]string{"spiffe://example.org"}, nil), "odd", nil},
	} {
		identity, err := s.Certificate(c.certificate)
		if identity.Name != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", name, identity, err)
		}
	}
	if _, err := s.Token(""); !errors.Is(err, rights.ErrAbsent) {
		t.Errorf("no token where lines have none: %v", err)
	}
}

// TestExpiriesAreLoggedOnce, a week ahead and at the end.
func TestExpiriesAreLoggedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, "ann="+tokenA+" expires=2026-12-01T00:00:00Z\nbob="+tokenB, 0o600)
	r := run(t, path)
	want := func(when time.Time, soon, over int) {
		t.Helper()
		r.at.Store(&when)
		r.notice <- time.Time{}
		r.notice <- time.Time{}
		if s, o := r.logs.FilterMessageSnippet("expires soon").Len(), r.logs.FilterMessageSnippet("has expired").Len(); s != soon || o != over {
			t.Errorf("at %v: %d and %d lines, want %d and %d", when, s, o, soon, over)
		}
	}
	end := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	want(end.Add(-Notice-time.Second), 0, 0)
	want(end.Add(-Notice), 1, 0)
	want(end.Add(-time.Second), 1, 0)
	want(end, 1, 1)
	want(end.Add(time.Hour), 1, 1)
	write(t, path, "ann="+tokenA+" expires=2026-12-02T00:00:00Z", 0o600)
	r.look()
	want(end.Add(time.Hour), 2, 1)
	for _, line := range r.logs.All() {
		if strings.Contains(line.Message, tokenA) {
			t.Errorf("a token is in the log: %v", line)
		}
	}
}
