package routes

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/rights"
)

func TestMain(m *testing.M) {
	UseReleaseMode()
	goleak.VerifyTestMain(m)
}

// goldenNow is the time of the fake validator.
var goldenNow = time.Date(2026, 11, 23, 20, 0, 0, 532e6, time.UTC)

// How far the fake validator and its cluster are.
const (
	goldenProcessed = 0x6923a1c000000003
	goldenCluster   = 0x6923a1c000000010
)

// goldenKeys is a Validator that knows testdata/http/keys.json. It parses and
// decides as the real one does, so that the golden requests show real verdicts.
type goldenKeys map[string]*apikey.Record // key's text to record; nil: unavailable

func (keys goldenKeys) Validate(_ context.Context, text string, req *apikey.Request) apikey.Verdict {
	switch _, err := apikey.Parse(apikey.DefaultPrefix, text); {
	case text == "":
		return keys.Refuse(apikey.Missing)
	case err != nil:
		return keys.Refuse(apikey.Malformed)
	}
	v := apikey.Verdict{
		Code: apikey.NotFound, Source: apikey.SourceCache, Revision: goldenProcessed,
		Staleness: 412 * time.Millisecond, AsOf: goldenNow.Add(-412 * time.Millisecond),
	}
	record, found := keys[text]
	if found && record == nil {
		return keys.Refuse(apikey.Unavailable)
	}
	switch {
	case req.MinRevision > goldenCluster:
		return apikey.Verdict{Problem: apikey.RevisionAhead}
	case req.MinRevision > goldenProcessed:
		v.Source, v.Revision = apikey.SourceDirect, req.MinRevision
	}
	if found {
		v.Code, v.Record = apikey.Decide(record, req, goldenNow), record
		v.Reason = apikey.ReasonFor(v.Code, record, req)
	}
	return v
}

func (goldenKeys) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

// loadGolden reads a file of testdata/http.
func loadGolden(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "http", name))
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func loadKeys(t testing.TB) goldenKeys {
	t.Helper()
	var file []struct {
		Key         string
		Unavailable bool
		Record      *struct {
			KeyID      string `json:"key_id"`
			UserID     string `json:"user_id"`
			OrgID      string `json:"org_id"`
			ProjectID  string `json:"project_id"`
			Name       string
			Scopes     []string
			AllowedIPs []string  `json:"allowed_ips"`
			ExpiresAt  time.Time `json:"expires_at"`
			Metadata   json.RawMessage
			Active     bool
			Defect     string
			Reason     string `json:"defect_reason"`
		}
	}
	loadGolden(t, "keys.json", &file)
	keys := goldenKeys{}
	for _, entry := range file {
		if entry.Unavailable {
			keys[entry.Key] = nil
			continue
		}
		r := entry.Record
		networks, err := forwardauth.ParseTrustedProxies(r.AllowedIPs)
		if err != nil {
			t.Fatal(err)
		}
		keys[entry.Key] = &apikey.Record{
			KeyID: r.KeyID, UserID: r.UserID, OrgID: r.OrgID, ProjectID: r.ProjectID, Name: r.Name,
			Scopes: r.Scopes, AllowedIPs: networks, ExpiresAt: r.ExpiresAt, Metadata: r.Metadata,
			Active: r.Active, Defect: r.Defect, DefectReason: r.Reason,
		}
	}
	return keys
}

// newPublic makes a public handler or fails the test.
func newPublic(t testing.TB, config PublicConfig) http.Handler {
	t.Helper()
	if config.Requests == nil {
		config.Requests = measured(t)
	}
	handler, err := NewPublic(config)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// goldenServers are the servers that the golden cases name.
func goldenServers(t testing.TB) map[string]http.Handler {
	t.Helper()
	keys := loadKeys(t)
	sources, err := forwardauth.ParseKeySources([]string{"bearer", "x-api-key", "header:x-session", "query:api_key", "cookie:sid"})
	if err != nil {
		t.Fatal(err)
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	handlers := map[string]http.Handler{
		"public":  newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: keys}}),
		"proxied": newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: keys, TrustedProxies: proxies}}),
		"sources": newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: keys, KeySources: sources}}),
		"policies": newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: keys, KeySources: sources, Policies: map[string]forwardauth.Policy{
			"open": {}, "strict": {Scopes: []string{"nobody:has"}},
		}}}),
		"callers": newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: keys}, Callers: fakeTokens{"caller-token-of-web": "web"}}),
		"admin":   newGoldenAdmin(t),
		"syncing": newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: keys}, Callers: fakeTokens{"caller": "web"}, Syncer: goldenSyncer{}, Events: slowFeed{}}),
	}
	for name, status := range goldenStates() {
		handlers[name], err = NewOperations(OperationsConfig{
			Status: func() Status { return status }, Gatherer: prometheus.NewRegistry(), Requests: measured(t),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return handlers
}

// fakeTokens maps a token to its name.
type fakeTokens map[string]string

func (f fakeTokens) Name(token string) (string, bool) {
	name, known := f[token]
	return name, known
}

// fakeAdmins maps a token, or the common name of a certificate, to its identity.
type fakeAdmins map[string]rights.Identity

func (f fakeAdmins) Token(token string) (rights.Identity, error) {
	if token == "" {
		return rights.Identity{}, rights.ErrAbsent
	}
	identity, known := f[token]
	if !known {
		return rights.Identity{}, rights.ErrUnknown
	}
	return identity, nil
}

func (f fakeAdmins) SignedIn(hash [sha256.Size]byte) (rights.Identity, error) {
	for token, identity := range f {
		if sha256.Sum256([]byte(token)) == hash {
			return identity, nil
		}
	}
	return rights.Identity{}, rights.ErrUnknown
}

func (f fakeAdmins) Certificate(certificate *x509.Certificate) (rights.Identity, error) {
	if certificate == nil {
		return rights.Identity{}, rights.ErrAbsent
	}
	identity, known := f[certificate.Subject.CommonName]
	if !known {
		return rights.Identity{}, rights.ErrAbsent
	}
	return identity, nil
}

func goldenStates() map[string]Status {
	return map[string]Status{
		"ready": {
			State: "live", Ready: true, Strict: true, StalenessMS: 412, Epoch: 2, Entries: 190, LagMS: 7,
			Usage: &Usage{PendingKeys: 116, BatchSize: 62, FailingMS: 61000},
		},
		"stale": {
			State: "stale", Ready: true, StalenessMS: 16000, Epoch: 4, Entries: 190, LagMS: -1,
			Note:     "a sentence about a sharded cluster",
			LastLoss: &Loss{At: time.Date(2026, 11, 23, 19, 59, 0, 0, time.UTC), Reason: "the collection was dropped"},
		},
		"loading": {
			State: "preloading", StalenessMS: 412, Epoch: 2, Entries: 412000, LagMS: -1,
			Scan: &Scan{KeysRead: 412000, KeysExpected: 1000000, KeysPerSecond: 800000, LeftMS: 735},
		},
		"drained": {
			State: "live", StalenessMS: -1, Epoch: 2, Entries: 190, LagMS: 7,
			Usage: &Usage{PendingKeys: 3, BatchSize: 1000, FailingMS: -1},
		},
	}
}

// reply is an answer and all that was read of it.
type reply struct {
	*http.Response
	body string
}

// exchange sends raw bytes to a real server and reads one answer.
func exchange(t testing.TB, server *httptest.Server, method, raw string) reply {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The server may respond and close the connection before it has read everything.
	_, _ = io.WriteString(conn, raw)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("half an answer: %v", err)
	}
	return reply{response, string(body)}
}

// serve starts a real server for the test's time.
func serve(t testing.TB, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// checkAlways checks what holds for every answer.
func checkAlways(t testing.TB, got reply, keys ...string) {
	t.Helper()
	if got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", got.Header.Get("Cache-Control"))
	}
	if got.Header.Get(headerSniffing) != "nosniff" && (got.body != "" || got.Header.Get(forwardauth.HeaderResult) != "VALID") {
		t.Errorf("%s is %q", headerSniffing, got.Header.Get(headerSniffing))
	}
	if ids := got.Header["X-Request-Id"]; len(ids) != 1 || !forwardauth.SafeRequestID(ids[0]) {
		t.Errorf("X-Request-Id is %q", ids)
	}
	result := got.Header.Get(forwardauth.HeaderResult)
	if (got.StatusCode == http.StatusOK) != (result == "VALID") && result != "" {
		t.Errorf("status %d with %s", got.StatusCode, result)
	}
	var all strings.Builder
	if err := got.Header.Write(&all); err != nil {
		t.Error(err)
	}
	all.WriteString(got.body)
	for _, key := range keys {
		if strings.Contains(all.String(), key) {
			t.Errorf("the answer holds a key: %s", all.String())
		}
	}
}
