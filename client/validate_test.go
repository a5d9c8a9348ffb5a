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

func TestTheQuestionIsThatOfTheContract(t *testing.T) {
	for name, test := range map[string]struct {
		request auth.Request
		want    string
	}{
		"a key":        {auth.Request{}, ``},
		"all":          {auth.Request{Scopes: []string{"a", "b:c&d"}, OrgID: "o", ProjectID: "p", IP: netip.MustParseAddr("::ffff:192.0.2.1"), MinRevision: 0x6923a1c000000003}, `,"scopes":["a","b:c&d"],"org_id":"o","project_id":"p","ip":"192.0.2.1","min_revision":"6923a1c000000003"`},
		"a zone":       {auth.Request{IP: netip.MustParseAddr("fe80::1%eth0")}, ``},
		"no ids":       {auth.Request{OrgID: "a\x00b", ProjectID: "\xff"}, ``},
		"half a pair":  {auth.Request{OrgID: "a\uFFFDb"}, ``},
		"a long id":    {auth.Request{ProjectID: strings.Repeat("p", 257)}, ``},
		"a strange id": {auth.Request{OrgID: `a"b é`}, `,"org_id":"a\"b é"`},
	} {
		answer := strings.NewReplacer(`"org_id":null`, `"org_id":""`, `"a","b:*"`, `"*"`).Replace(yes)
		server := serve(t, json200(answer))
		c := newClient(t, server.URL+"/below/")
		if _, err := c.Validate(t.Context(), `kt_"<secret>"`, test.request); err != nil {
			t.Fatal(err)
		}
		seen := server.seen()
		want := `{"key":"kt_\"<secret>\""` + test.want + "}\n"
		if len(seen) != 1 || seen[0].uri != "POST /below/v1/keys/verify" || seen[0].body != want {
			t.Errorf("%s: asked %+v, want %s", name, seen, want)
		}
		if h := seen[0].header; h.Get("Content-Type") != "application/json" || h.Get("Authorization") != "Bearer "+callerToken {
			t.Errorf("%s: %v", name, h)
		}
	}
}

// TestWhatIsNoKeyIsNotSent: the daemon would say the same.
func TestWhatIsNoKeyIsNotSent(t *testing.T) {
	server := serve(t, json200(yes))
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
	if seen := server.seen(); len(seen) != 0 {
		t.Errorf("sent %+v", seen)
	}
}

// TestBadRequestsAreNotSent: they are the program's mistake, and say nothing about
// the key or the daemon.
func TestBadRequestsAreNotSent(t *testing.T) {
	server := serve(t, json200(yes))
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
		"a space": {"a b"}, "empty": {""}, "no UTF-8": {"\xff"}, "half a pair": {"a\uFFFD"}, "many": many, "long": long,
	} {
		verdict, err := c.Validate(t.Context(), secret, auth.Request{Scopes: scopes})
		if !errors.Is(err, ErrBadRequest) || !errors.Is(err, ErrUnavailable) || verdict.Code != auth.Unavailable {
			t.Errorf("%s: %+v, %v", name, verdict, err)
		}
	}
	if seen := server.seen(); len(seen) != 0 {
		t.Errorf("sent %+v", seen)
	}
}

// TestRefusalsOfTheDaemonAreNoVerdicts: none says anything about the key.
func TestRefusalsOfTheDaemonAreNoVerdicts(t *testing.T) {
	const problemType = "application/problem+json"
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		text   string
		kind   error
		away   bool
	}{
		"does not know":  {says(503, problemType, `{"code":"UNAVAILABLE","detail":"`+secret+`"}`), "does not know at the moment", nil, false},
		"a proxy's 503":  {says(503, "text/html", secret), "answers 503", nil, true},
		"stopping":       {says(503, problemType, `{"code":"SHUTTING_DOWN"}`), "answers 503", nil, true},
		"a wrong token":  {says(401, problemType, `{"code":"UNAUTHENTICATED"}`), "does not know this client's caller token", ErrCallerToken, false},
		"a proxy's 401":  {says(401, "text/html", secret), "does not know this client's caller token", ErrCallerToken, false},
		"cannot be read": {says(400, problemType, `{"code":"BAD_REQUEST","detail":"`+secret+`"}`), "cannot read the request", ErrBadRequest, false},
		"missing":        {says(400, problemType, `{"code":"MISSING"}`), "answers 400", nil, true},
		"not JSON":       {says(400, problemType, secret), "answers 400", nil, true},
		"forbidden":      {says(403, problemType, `{"code":"FORBIDDEN"}`), "answers 403", nil, true},
		"not found":      {says(404, problemType, `{"code":"NOT_FOUND"}`), "answers 404", nil, true},
		"failed":         {says(500, problemType, `{"code":"INTERNAL_ERROR"}`), "has failed on this key", nil, false},
		"a proxy's 502":  {says(502, "text/html", "<html>"), "answers 502", nil, true},
		"too many":       {says(429, problemType, `{"code":"TOO_MANY"}`), "answers 429", nil, true},
		"created":        {says(201, "application/json", yes), "answers 201", nil, true},
		"no content":     {says(204, "application/json", ""), "answers 204", nil, true},
		"partial":        {says(206, "application/json", yes), "answers 206", nil, true},
		"another type":   {says(200, "text/html", yes), "something else than JSON", nil, true},
		"no type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, yes)
		}, "something else than JSON", nil, true},
		"an encoding": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			json200(yes)(w, r)
		}, "something else than JSON", nil, true},
		"too large": {json200(`{"x":"` + strings.Repeat("x", maxAnswer) + `"}`), "more than 1 MiB", nil, true},
		"half an answer": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9999")
			json200(yes)(w, r)
		}, "has closed the connection", nil, true},
		"large headers": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Echo", strings.Repeat(secret, 9000))
			json200(yes)(w, r)
		}, "is no HTTP", nil, true},
		"sends elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere?"+secret, http.StatusTemporaryRedirect)
		}, "sends elsewhere (307)", nil, true},
		"sends elsewhere2": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}, "sends elsewhere (302)", nil, true},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, secret+"\r\n\r\n")
			_ = conn.Close()
		}, "is no HTTP", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, test.handle)
			c := newClient(t, server.URL)
			verdict, err := c.Validate(t.Context(), secret, auth.Request{})
			if !errors.Is(err, ErrUnavailable) || verdict.Code != auth.Unavailable || verdict.Valid() || verdict.Key != nil {
				t.Fatalf("%+v, %v", verdict, err)
			}
			if !strings.Contains(err.Error(), test.text) || test.kind != nil && !errors.Is(err, test.kind) || away(err) != test.away {
				t.Errorf("away %v: %v", away(err), err)
			}
			if errors.Is(err, ErrRevisionAhead) {
				t.Errorf("nobody asked for a revision: %v", err)
			}
			if strings.Contains(fmt.Sprintf("%+v %#v", err, err), secret) || strings.Contains(err.Error(), callerToken) {
				t.Errorf("the key or token is in %#v", err)
			}
			if n := len(server.seen()); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestWithoutATokenTheErrorSaysSo(t *testing.T) {
	server := serve(t, says(401, "application/problem+json", `{"code":"UNAUTHENTICATED"}`))
	_, err := newClient(t, server.URL, func(c *Config) { c.Token = "" }).Validate(t.Context(), secret, auth.Request{})
	if !errors.Is(err, ErrCallerToken) || !strings.Contains(err.Error(), "none is given") {
		t.Error(err)
	}
}

func TestARevisionAheadIsTheCallersMistake(t *testing.T) {
	server := serve(t, says(400, "application/problem+json", `{"code":"BAD_REQUEST"}`))
	verdict, err := newClient(t, server.URL).Validate(t.Context(), secret, auth.Request{MinRevision: 9})
	if !errors.Is(err, ErrRevisionAhead) || errors.Is(err, ErrUnavailable) || verdict.Code != auth.Unavailable {
		t.Errorf("%+v, %v", verdict, err)
	}
}

// breaking closes the first connections without an answer, and answers on the next.
func breaking(t *testing.T, first int64, how func(net.Conn)) (*fake, *atomic.Int64) {
	var n atomic.Int64
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > first {
			json200(yes)(w, r)
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

// TestABrokenConnectionIsTriedOnceMore, and only once, and only if the answer had not
// begun.
func TestABrokenConnectionIsTriedOnceMore(t *testing.T) {
	for name, test := range map[string]struct {
		first int64
		how   func(net.Conn)
		asked int64
		well  bool
	}{
		"closed":        {1, closes, 2, true},
		"reset":         {1, resets, 2, true},
		"closed twice":  {2, closes, 2, false},
		"reset twice":   {2, resets, 2, false},
		"begun":         {1, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 ") }, 1, false},
		"half a header": {1, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n") }, 1, false},
		"half a body": {1, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"+yes[:50])
		}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			server, asked := breaking(t, test.first, test.how)
			verdict, err := newClient(t, server.URL).Validate(t.Context(), secret, auth.Request{})
			if verdict.Valid() != test.well || (err == nil) != test.well || asked.Load() != test.asked {
				t.Errorf("asked %d times: %+v, %v", asked.Load(), verdict, err)
			}
		})
	}
}

// TestARefusedConnectionIsTriedOnceMore: a daemon that has just been started again.
func TestARefusedConnectionIsTriedOnceMore(t *testing.T) {
	server := serve(t, json200(yes))
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

// TestDeadConnectionsInThePoolCostOneTry: all were closed while nobody looked.
func TestDeadConnectionsInThePoolCostOneTry(t *testing.T) {
	var dying atomic.Bool
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if dying.Load() && r.Header.Get("Connection") != "close" {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close()
			return
		}
		json200(yes)(w, r)
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

// TestATimeOutIsNotRepeated: by each of the bounds.
func TestATimeOutIsNotRepeated(t *testing.T) {
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
		"whole":   {hang, func(c *Config) { c.Timeout = 50 * time.Millisecond }},
		"headers": {hang, func(c *Config) { c.HeaderTimeout = 50 * time.Millisecond }},
		"body":    {slow, func(c *Config) { c.Timeout = 50 * time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, test.handle)
			began := time.Now()
			_, err := newClient(t, server.URL, test.change).Validate(t.Context(), secret, auth.Request{})
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "did not answer in time") || !away(err) {
				t.Error(err)
			}
			if n := len(server.seen()); n != 1 || time.Since(began) > 3*time.Second {
				t.Errorf("asked %d times in %v", n, time.Since(began))
			}
		})
	}
}

func TestAHandshakeHasItsBound(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	began := time.Now()
	_, err = newClient(t, "https://"+listener.Addr().String(), func(c *Config) { c.TLSTimeout = 50 * time.Millisecond }).Validate(t.Context(), secret, auth.Request{})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "did not answer in time") || time.Since(began) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestSentencesForWhatIsWrongWithTheAddress(t *testing.T) {
	plain := serve(t, json200(yes))
	for url, want := range map[string]string{
		"http://127.0.0.1:1":                                 "nobody listens at http://127.0.0.1:1",
		strings.Replace(plain.URL, "http:", "https:", 1):     "does not speak TLS",
		"http://name-that-does-not-exist.invalid/some/where": "cannot be looked up",
	} {
		if _, err := newClient(t, url).Validate(t.Context(), secret, auth.Request{}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestNothingIsKept: two calls, two questions.
func TestNothingIsKept(t *testing.T) {
	var no atomic.Bool
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		if no.Load() {
			json200(`{"valid":false,"code":"DISABLED","key_id":"k"}`)(w, r)
			return
		}
		json200(yes)(w, r)
	})
	c := newClient(t, server.URL)
	if v, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil || !v.Valid() {
		t.Fatalf("%+v, %v", v, err)
	}
	no.Store(true)
	v, err := c.Validate(t.Context(), secret, auth.Request{})
	if diff := cmp.Diff(auth.Verdict{Code: auth.Disabled, Key: &auth.Key{KeyID: "k"}}, v); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestOnlySoManyAreUnderWay: the next is refused at once, and no connection is made
// past their bound.
func TestOnlySoManyAreUnderWay(t *testing.T) {
	let := make(chan struct{})
	var now, most atomic.Int64
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for n := now.Add(1); n > most.Load(); {
			most.Store(n)
		}
		<-let
		now.Add(-1)
		json200(yes)(w, r)
	})
	c := newClient(t, server.URL, func(c *Config) { c.MaxConnections, c.MaxInFlight = 3, 5 })
	results := make(chan error, 5)
	for range 5 {
		go func() { _, err := c.Validate(context.Background(), secret, auth.Request{}); results <- err }()
	}
	eventually(t, "three are asked and two wait", func() bool { return now.Load() == 3 && len(c.places) == 5 })
	if _, err := c.Validate(t.Context(), secret, auth.Request{}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "5 requests") {
		t.Errorf("the sixth: %v", err)
	}
	if v, err := c.Validate(t.Context(), "no key", auth.Request{}); err != nil || v.Code != auth.Malformed {
		t.Errorf("what needs no place: %+v, %v", v, err)
	}
	close(let)
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 3 || len(c.places) != 0 {
		t.Errorf("%d at once, %d places are not given back", most.Load(), len(c.places))
	}
}

func TestAnAnswerThatIsTooOldIsNone(t *testing.T) {
	server := serve(t, json200(strings.Replace(yes, `"staleness_ms":412`, `"staleness_ms":15001`, 1)))
	_, err := newClient(t, server.URL).Validate(t.Context(), secret, auth.Request{})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "older than MaxStale") || away(err) {
		t.Error(err)
	}
	if _, err := newClient(t, server.URL, func(c *Config) { c.MaxStale = time.Minute }).Validate(t.Context(), secret, auth.Request{}); err != nil {
		t.Error(err)
	}
}
