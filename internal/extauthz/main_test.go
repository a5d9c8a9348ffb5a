package extauthz

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/serverspan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitTimeout limits waits for something that takes milliseconds on an idle machine.
const waitTimeout = 20 * time.Second

// now is the time of fakeKeys.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// fakeKeys is a Validator that parses and decides as package validator does. A key text
// that maps to nil is UNAVAILABLE.
type fakeKeys map[string]*apikey.Record

func (keys fakeKeys) Validate(_ context.Context, text string, req *apikey.Request) apikey.Verdict {
	switch _, err := apikey.Parse(apikey.DefaultPrefix, text); {
	case text == "":
		return keys.Refuse(apikey.Missing)
	case err != nil:
		return keys.Refuse(apikey.Malformed)
	}
	record, found := keys[text]
	switch {
	case !found:
		return keys.Refuse(apikey.NotFound)
	case record == nil:
		return keys.Refuse(apikey.Unavailable)
	}
	return apikey.Verdict{
		Code: apikey.Decide(record, req, now), Record: record, AsOf: now, Staleness: 412 * time.Millisecond,
	}
}

func (fakeKeys) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

// The texts of keys in tests. keyComma and keyTail look like values that a proxy has joined
// by a comma.
const (
	keyRoot  = "key-of-root"
	keyOther = "key-of-another"
	keyComma = "key-of-root,key-of-another"
	keyTail  = "key-of-root,"
)

func newKeys() fakeKeys {
	good := func(change func(*apikey.Record)) *apikey.Record {
		r := &apikey.Record{KeyID: "k1", UserID: "u1", Scopes: []string{"orders:read"}, Active: true}
		change(r)
		return r
	}
	plain := good(func(*apikey.Record) {})
	return fakeKeys{
		keyRoot: plain, keyOther: plain, keyComma: plain, keyTail: plain,
		"key-that-is-off":  good(func(r *apikey.Record) { r.Active = false }),
		"key-that-ended":   good(func(r *apikey.Record) { r.ExpiresAt = now }),
		"key-of-an-office": good(func(r *apikey.Record) { r.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} }),
		"key-of-acme":      good(func(r *apikey.Record) { r.OrgID, r.ProjectID = "acme", "p1" }),
		"key-of-an-outage": nil,
		"key-that-is-odd":  good(func(r *apikey.Record) { r.UserID, r.Scopes = "é\r\nX: y", []string{"a b", `c"`} }),
	}
}

// options are what tests change of a server.
type options struct {
	validator forwardauth.Validator
	sources   []string
	proxies   []string
	hides     bool
	identity  forwardauth.Identity
	// reflection, callTimeout and maxAge are Config's.
	reflection          bool
	callTimeout, maxAge time.Duration
	live                chan struct{} // nil: closed
	logger              *zap.Logger
	registry            *prometheus.Registry // nil: a new one
	decisions           forwardauth.DecisionLog
	tracer              *serverspan.Tracer
}

func newServer(t testing.TB, o options) *Server {
	t.Helper()
	if o.validator == nil {
		o.validator = newKeys()
	}
	if o.live == nil {
		o.live = make(chan struct{})
		close(o.live)
	}
	sources, err := forwardauth.ParseKeySources(o.sources)
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := forwardauth.ParseTrustedProxies(o.proxies)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := forwardauth.New(forwardauth.Config{
		Validator: o.validator, KeySources: sources, TrustedProxies: proxies,
		Decisions: o.decisions, Operation: forwardauth.OperationExtAuthz, TraceID: serverspan.TraceID, Identity: o.identity, RemovesAbsent: true,
		Policies: map[string]forwardauth.Policy{
			"open": {}, "orders": {Scopes: []string{"orders:read"}}, "strict": {Scopes: []string{"unused:scope"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if o.registry == nil {
		o.registry = prometheus.NewPedanticRegistry()
	}
	requests, err := instrument.NewRequests(o.registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n, err := testutil.GatherAndCount(o.registry, "keytail_request_duration_seconds"); err != nil || n != len(statuses) {
			t.Errorf("%d statuses were measured, the list has %d (%v)", n, len(statuses), err)
		}
	})
	s, err := New(Config{
		Authority: authority, HideCredentials: o.hides, Live: o.live, Requests: requests, Logger: o.logger, Tracer: o.tracer,
		Reflection: o.reflection, CallTimeout: o.callTimeout, MaxConnectionAge: o.maxAge,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve starts a server on a free port, and returns a connection to it.
func serve(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// rawRequest returns a request with headers in the form of encode_raw_headers; headers
// alternates names and values.
func rawRequest(path string, headers ...string) *authv3.CheckRequest {
	described := &authv3.AttributeContext_HttpRequest{Path: path, Method: "GET", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: ":path", RawValue: []byte(path)},
	}}}
	for i := 0; i < len(headers); i += 2 {
		described.HeaderMap.Headers = append(described.HeaderMap.Headers, &corev3.HeaderValue{Key: headers[i], RawValue: []byte(headers[i+1])})
	}
	return newRequest("198.51.100.7", described)
}

// plainRequest returns a request with headers in the form without encode_raw_headers.
func plainRequest(path string, headers map[string]string) *authv3.CheckRequest {
	return newRequest("198.51.100.7", &authv3.AttributeContext_HttpRequest{Path: path, Method: "GET", Headers: headers})
}

func newRequest(peer string, described *authv3.AttributeContext_HttpRequest) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:  &authv3.AttributeContext_Peer{Address: socket(peer)},
		Request: &authv3.AttributeContext_Request{Http: described},
	}}
}

func socket(address string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711},
	}}}
}

// withRequirements adds context_extensions, alternating names and values.
func withRequirements(r *authv3.CheckRequest, extensions ...string) *authv3.CheckRequest {
	r.Attributes.ContextExtensions = map[string]string{}
	for i := 0; i < len(extensions); i += 2 {
		r.Attributes.ContextExtensions[extensions[i]] = extensions[i+1]
	}
	return r
}

// withPeer sets the address of Envoy's peer.
func withPeer(r *authv3.CheckRequest, address *corev3.Address) *authv3.CheckRequest {
	r.Attributes.Source = &authv3.AttributeContext_Peer{Address: address}
	return r
}

// check calls a server without a network, and checks that the response is consistent.
func check(t testing.TB, s *Server, r *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	answer, err := s.Check(context.Background(), r)
	if err != nil {
		t.Fatalf("Check failed, which Envoy takes for an outage: %v", err)
	}
	wantConsistent(t, answer)
	return answer
}

// wantConsistent checks that a response either allows or denies, with the right code.
func wantConsistent(t testing.TB, answer *authv3.CheckResponse) {
	t.Helper()
	code, allowed, denied := answer.GetStatus().GetCode(), answer.GetOkResponse(), answer.GetDeniedResponse()
	if answer.GetStatus() == nil || (code == 0) != (allowed != nil) || (code == 0) != (denied == nil) || answer.GetErrorResponse() != nil {
		t.Fatalf("the answer contradicts itself: %v", answer)
	}
	if denied != nil && (denied.GetStatus().GetCode() < 400 || denied.GetBody() == "") {
		t.Fatalf("the answer denies with %v", denied)
	}
	for _, h := range append(allowed.GetHeaders(), denied.GetHeaders()...) {
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is appended: %v", h.GetHeader().GetKey(), h.GetAppendAction())
		}
	}
}

// header returns a header of the answer.
func header(answer *authv3.CheckResponse, name string) (value string, found bool) {
	for _, h := range append(answer.GetOkResponse().GetHeaders(), answer.GetDeniedResponse().GetHeaders()...) {
		if strings.EqualFold(h.GetHeader().GetKey(), name) {
			return h.GetHeader().GetValue(), true
		}
	}
	return "", false
}

// result returns VALID, or the code of the refusal.
func result(answer *authv3.CheckResponse) string {
	if answer.GetOkResponse() != nil {
		return "VALID"
	}
	code, _ := header(answer, forwardauth.HeaderResult)
	return code
}
