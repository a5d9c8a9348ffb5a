package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/auth"
)

func TestRequestBody(t *testing.T) {
	for name, test := range map[string]struct {
		request auth.Request
		want    string
	}{
		"key":                   {auth.Request{}, ``},
		"all fields":            {auth.Request{Scopes: []string{"a", "b:c&d"}, OrgID: "o", ProjectID: "p", IP: netip.MustParseAddr("::ffff:192.0.2.1"), MinRevision: 0x6923a1c000000003}, `,"scopes":["a","b:c&d"],"org_id":"o","project_id":"p","ip":"192.0.2.1","min_revision":"6923a1c000000003"`},
		"address with a zone":   {auth.Request{IP: netip.MustParseAddr("fe80::1%eth0")}, ``},
		"requirements":          {auth.Request{RequireOrg: true, RequireProject: true}, `,"require_org":true,"require_project":true`},
		"requirement and id":    {auth.Request{OrgID: "o", RequireOrg: true}, `,"org_id":"o","require_org":true`},
		"invalid ids":           {auth.Request{OrgID: "a\x00b", ProjectID: "\xff"}, `,"require_org":true,"require_project":true`},
		"replacement character": {auth.Request{OrgID: "a\uFFFDb"}, `,"require_org":true`},
		"long id":               {auth.Request{ProjectID: strings.Repeat("p", 257)}, `,"require_project":true`},
		"id with quotes":        {auth.Request{OrgID: `a"b é`}, `,"org_id":"a\"b é"`},
	} {
		body := strings.NewReplacer(`"org_id":null`, `"org_id":""`, `"a","b:*"`, `"*"`).Replace(validBody)
		server := serve(t, json200(body))
		c := newClient(t, server.URL+"/below/")
		if _, err := c.Validate(t.Context(), `kt_"<secret>"`, test.request); err != nil {
			t.Fatal(err)
		}
		requests := server.requests()
		want := `{"key":"kt_\"<secret>\""` + test.want + "}\n"
		if len(requests) != 1 || requests[0].uri != "POST /below/v1/keys/verify" || requests[0].body != want {
			t.Errorf("%s: sent %+v, want %s", name, requests, want)
		}
		if h := requests[0].header; h.Get("Content-Type") != "application/json" || h.Get("Authorization") != "Bearer "+callerToken {
			t.Errorf("%s: %v", name, h)
		}
	}
}

func TestMissingAndMalformedKeysAreNotSent(t *testing.T) {
	server := serve(t, json200(validBody))
	c := newClient(t, server.URL)
	for key, want := range map[string]auth.Code{
		"": auth.Missing, "short": auth.Malformed, "kt_\xff\xfe1234": auth.Malformed, "kt_with a space": auth.Malformed,
		"kt_\u2028line": auth.Malformed, strings.Repeat("x", 16<<10): auth.Malformed, "kt_\x00control": auth.Malformed,
	} {
		verdict, err := c.Validate(t.Context(), key, auth.Request{})
		if err != nil || verdict.Code != want || verdict.Valid() {
			t.Errorf("%.20q: %+v, %v", key, verdict, err)
		}
	}
	if requests := server.requests(); len(requests) != 0 {
		t.Errorf("sent %+v", requests)
	}
}

// They are mistakes in the program, and do not count as failures of the daemon.
func TestInvalidRequestsAreNotSent(t *testing.T) {
	server := serve(t, json200(validBody))
	c := newClient(t, server.URL, func(c *Config) { c.BreakAfter = 1 })
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	long := make([]string, 100)
	for i := range long {
		long[i] = fmt.Sprint(i, strings.Repeat("x", 200))
	}
	for name, scopes := range map[string][]string{
		"space": {"a b"}, "empty": {""}, "invalid UTF-8": {"\xff"}, "replacement character": {"a\uFFFD"}, "too many requests": many, "too long": long,
	} {
		verdict, err := c.Validate(t.Context(), secret, auth.Request{Scopes: scopes})
		if !errors.Is(err, ErrBadRequest) || !errors.Is(err, auth.ErrUnavailable) || verdict.Code != auth.Unavailable {
			t.Errorf("%s: %+v, %v", name, verdict, err)
		}
	}
	if requests := server.requests(); len(requests) != 0 {
		t.Errorf("sent %+v", requests)
	}
}

func TestResponsesWithoutAVerdict(t *testing.T) {
	const problemType = "application/problem+json"
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		text   string
		kind   error
		// unreachable: no keytail answered.
		unreachable bool
	}{
		"unavailable":       {respondWith(503, problemType, `{"code":"UNAVAILABLE","detail":"`+secret+`"}`), "cannot validate this API key at the moment", nil, false},
		"a proxy's 503":     {respondWith(503, "text/html", secret), "responded with status 503", nil, true},
		"stopping":          {respondWith(503, problemType, `{"code":"SHUTTING_DOWN"}`), "responded with status 503", nil, true},
		"wrong token":       {respondWith(401, problemType, `{"code":"UNAUTHENTICATED"}`), "does not know the caller token", ErrCallerToken, false},
		"a proxy's 401":     {respondWith(401, "text/html", secret), "does not know the caller token", ErrCallerToken, false},
		"bad request":       {respondWith(400, problemType, `{"code":"BAD_REQUEST","detail":"`+secret+`"}`), "refused the request as invalid", ErrBadRequest, false},
		"missing":           {respondWith(400, problemType, `{"code":"MISSING"}`), "responded with status 400", nil, true},
		"not JSON":          {respondWith(400, problemType, secret), "responded with status 400", nil, true},
		"forbidden":         {respondWith(403, problemType, `{"code":"FORBIDDEN"}`), "responded with status 403", nil, true},
		"not found":         {respondWith(404, problemType, `{"code":"NOT_FOUND"}`), "responded with status 404", nil, true},
		"internal error":    {respondWith(500, problemType, `{"code":"INTERNAL_ERROR"}`), "had an internal error", nil, false},
		"a proxy's 502":     {respondWith(502, "text/html", "<html>"), "responded with status 502", nil, true},
		"too many requests": {respondWith(429, problemType, `{"code":"TOO_MANY"}`), "responded with status 429", nil, true},
		"created":           {respondWith(201, "application/json", validBody), "responded with status 201", nil, true},
		"no content":        {respondWith(204, "application/json", ""), "responded with status 204", nil, true},
		"partial":           {respondWith(206, "application/json", validBody), "responded with status 206", nil, true},
		"wrong type":        {respondWith(200, "text/html", validBody), "a body that is not JSON", nil, true},
		"no type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, validBody)
		}, "a body that is not JSON", nil, true},
		"encoded": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			json200(validBody)(w, r)
		}, "a body that is not JSON", nil, true},
		"too large": {json200(`{"x":"` + strings.Repeat("x", maxResponse) + `"}`), "more than 1 MiB", nil, true},
		"truncated body": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9999")
			json200(validBody)(w, r)
		}, "closed the connection", nil, true},
		"large headers": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Echo", strings.Repeat(secret, 9000))
			json200(validBody)(w, r)
		}, "is not HTTP", nil, true},
		"redirect 307": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere?"+secret, http.StatusTemporaryRedirect)
		}, "a redirect (307)", nil, true},
		"redirect 302": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}, "a redirect (302)", nil, true},
		"not HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, secret+"\r\n\r\n")
			_ = conn.Close()
		}, "is not HTTP", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, test.handle)
			c := newClient(t, server.URL)
			verdict, err := c.Validate(t.Context(), secret, auth.Request{})
			if !errors.Is(err, auth.ErrUnavailable) || verdict.Code != auth.Unavailable || verdict.Valid() || verdict.Key != nil {
				t.Fatalf("%+v, %v", verdict, err)
			}
			if !strings.Contains(err.Error(), test.text) || test.kind != nil && !errors.Is(err, test.kind) || isUnreachable(err) != test.unreachable {
				t.Errorf("unreachable is %v: %v", isUnreachable(err), err)
			}
			if errors.Is(err, auth.ErrRevisionAhead) {
				t.Errorf("auth.ErrRevisionAhead without MinRevision: %v", err)
			}
			if strings.Contains(fmt.Sprintf("%+v %#v", err, err), secret) || strings.Contains(err.Error(), callerToken) {
				t.Errorf("the error contains the key or the token: %#v", err)
			}
			if n := len(server.requests()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestErrorWithoutAToken(t *testing.T) {
	server := serve(t, respondWith(401, "application/problem+json", `{"code":"UNAUTHENTICATED"}`))
	_, err := newClient(t, server.URL, func(c *Config) { c.Token = "" }).Validate(t.Context(), secret, auth.Request{})
	if !errors.Is(err, ErrCallerToken) || !strings.Contains(err.Error(), "requires a caller token: set Token or TokenFile") {
		t.Error(err)
	}
}

func TestRevisionAhead(t *testing.T) {
	server := serve(t, respondWith(400, "application/problem+json", `{"code":"BAD_REQUEST"}`))
	verdict, err := newClient(t, server.URL).Validate(t.Context(), secret, auth.Request{MinRevision: 9})
	if !errors.Is(err, auth.ErrRevisionAhead) || errors.Is(err, auth.ErrUnavailable) || verdict.Code != auth.Unavailable {
		t.Errorf("%+v, %v", verdict, err)
	}
}

// breaking starts a daemon that breaks the first connections and accepts every key on
// later ones.
func breaking(t *testing.T, first int64, how func(net.Conn)) (*fakeDaemon, *atomic.Int64) {
	var n atomic.Int64
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > first {
			json200(validBody)(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		how(conn)
		_ = conn.Close()
	}), &n
}

func closes(net.Conn) {}

func resets(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }

// The second attempt is the last one, and there is none after the first byte of a
// response.
func TestBrokenConnectionIsRetriedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		first int64
		how   func(net.Conn)
		want  int64 // requests
		ok    bool
	}{
		"closed":           {1, closes, 2, true},
		"reset":            {1, resets, 2, true},
		"closed twice":     {2, closes, 2, false},
		"reset twice":      {2, resets, 2, false},
		"response begun":   {1, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 ") }, 1, false},
		"truncated header": {1, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n") }, 1, false},
		"truncated body": {1, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"+validBody[:50])
		}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			server, requests := breaking(t, test.first, test.how)
			verdict, err := newClient(t, server.URL).Validate(t.Context(), secret, auth.Request{})
			if verdict.Valid() != test.ok || (err == nil) != test.ok || requests.Load() != test.want {
				t.Errorf("%d requests: %+v, %v", requests.Load(), verdict, err)
			}
		})
	}
}

// The daemon may just have restarted.
func TestRefusedConnectionIsRetriedOnce(t *testing.T) {
	server := serve(t, json200(validBody))
	address := strings.TrimPrefix(server.URL, "http://")
	c := newClient(t, server.URL)
	dials := 0
	c.pool.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		dials++
		return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:1")
	}
	if verdict, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil || !verdict.Valid() || dials != 1 {
		t.Errorf("%+v, %v, after %d dials of %s", verdict, err, dials, address)
	}
}

// All idle connections of the pool were closed.
func TestBrokenPoolCostsOneRetry(t *testing.T) {
	var dying atomic.Bool
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if dying.Load() && r.Header.Get("Connection") != "close" {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close()
			return
		}
		json200(validBody)(w, r)
	})
	c := newClient(t, server.URL)
	// Several connections that stay open.
	results := make(chan error)
	for range 8 {
		go func() { _, err := c.Validate(t.Context(), secret, auth.Request{}); results <- err }()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	dying.Store(true)
	for range 8 {
		if verdict, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil || !verdict.Valid() {
			t.Errorf("%+v, %v", verdict, err)
		}
	}
}

func TestTimeoutsAreNotRetried(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	slow := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"valid":true,`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		change func(*Config)
	}{
		"Timeout":             {hang, func(c *Config) { c.Timeout = 50 * time.Millisecond }},
		"HeaderTimeout":       {hang, func(c *Config) { c.HeaderTimeout = 50 * time.Millisecond }},
		"Timeout in the body": {slow, func(c *Config) { c.Timeout = 50 * time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, test.handle)
			began := time.Now()
			_, err := newClient(t, server.URL, test.change).Validate(t.Context(), secret, auth.Request{})
			if !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "did not respond in time") || !isUnreachable(err) {
				t.Error(err)
			}
			if n := len(server.requests()); n != 1 || time.Since(began) > 3*time.Second {
				t.Errorf("%d requests in %v", n, time.Since(began))
			}
		})
	}
}

func TestTLSTimeout(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	began := time.Now()
	_, err = newClient(t, "https://"+listener.Addr().String(), func(c *Config) { c.TLSTimeout = 50 * time.Millisecond }).Validate(t.Context(), secret, auth.Request{})
	if !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "did not respond in time") || time.Since(began) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestErrorsForAWrongAddress(t *testing.T) {
	plain := serve(t, json200(validBody))
	for url, want := range map[string]string{
		"http://127.0.0.1:1":                                 "http://127.0.0.1:1 refused the connection",
		strings.Replace(plain.URL, "http:", "https:", 1):     "does not use TLS",
		"http://name-that-does-not-exist.invalid/some/where": "cannot be resolved",
	} {
		if _, err := newClient(t, url).Validate(t.Context(), secret, auth.Request{}); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// Not even with Cache-Control.
func TestVerdictsAreNotCached(t *testing.T) {
	var disabled atomic.Bool
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		if disabled.Load() {
			json200(`{"valid":false,"code":"DISABLED","key_id":"k"}`)(w, r)
			return
		}
		json200(validBody)(w, r)
	})
	c := newClient(t, server.URL)
	if v, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil || !v.Valid() {
		t.Fatalf("%+v, %v", v, err)
	}
	disabled.Store(true)
	v, err := c.Validate(t.Context(), secret, auth.Request{})
	if diff := cmp.Diff(auth.Verdict{Code: auth.Disabled, Key: &auth.Key{KeyID: "k"}}, v); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestMaxInFlightAndMaxConnections(t *testing.T) {
	let := make(chan struct{})
	var now, most atomic.Int64
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for n := now.Add(1); n > most.Load(); {
			most.Store(n)
		}
		<-let
		now.Add(-1)
		json200(validBody)(w, r)
	})
	c := newClient(t, server.URL, func(c *Config) { c.MaxConnections, c.MaxInFlight = 3, 5 })
	results := make(chan error, 5)
	for range 5 {
		go func() { _, err := c.Validate(context.Background(), secret, auth.Request{}); results <- err }()
	}
	eventually(t, "three requests at the daemon and two waiting", func() bool { return now.Load() == 3 && len(c.inFlight) == 5 })
	if _, err := c.Validate(t.Context(), secret, auth.Request{}); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "5 requests") {
		t.Errorf("sixth request: %v", err)
	}
	if v, err := c.Validate(t.Context(), "no key", auth.Request{}); err != nil || v.Code != auth.Malformed {
		t.Errorf("malformed key: %+v, %v", v, err)
	}
	close(let)
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 3 || len(c.inFlight) != 0 {
		t.Errorf("%d requests at the same time, %d still in flight", most.Load(), len(c.inFlight))
	}
}

func TestStaleAnswerIsRejected(t *testing.T) {
	server := serve(t, json200(strings.Replace(validBody, `"staleness_ms":412`, `"staleness_ms":15001`, 1)))
	_, err := newClient(t, server.URL).Validate(t.Context(), secret, auth.Request{})
	if !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "older than MaxStale") || isUnreachable(err) {
		t.Error(err)
	}
	if _, err := newClient(t, server.URL, func(c *Config) { c.MaxStale = time.Minute }).Validate(t.Context(), secret, auth.Request{}); err != nil {
		t.Error(err)
	}
}
