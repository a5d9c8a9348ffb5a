package adminclient

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/httpclient"
)

// calls are all calls except the stream, with their requests (docs/http.md).
var calls = []struct {
	name, method, uri, body string
	write                   bool
	do                      func(ctx context.Context, c *Client) error
}{
	{"create", "POST", "/v1/keys?timeout=7s&wait=fleet", `{"name":"n","scopes":[],"user_id":"u"}`, true, func(ctx context.Context, c *Client) error {
		_, err := c.Create(ctx, Fields{"user_id": "u", "name": "n", "scopes": []string{}}, Write{Wait: api.ScopeFleet, Timeout: 7 * time.Second})
		return err
	}},
	{"update", "PATCH", "/v1/keys/a%2Fb%3Fc%20d?user_id=u%26v", `{"expires_at":null}`, true, func(ctx context.Context, c *Client) error {
		_, err := c.Update(ctx, "a/b?c d", Fields{"expires_at": nil}, Write{UserID: "u&v", IfMatch: `"e0"`})
		return err
	}},
	{"revoke", "POST", "/v1/keys/k/revoke?wait=instance", "", true, func(ctx context.Context, c *Client) error {
		_, err := c.Revoke(ctx, "k", Write{Wait: api.ScopeInstance})
		return err
	}},
	{"rotate", "POST", "/v1/keys/k/rotate", `{"overlap_seconds":90}`, true, func(ctx context.Context, c *Client) error {
		_, err := c.Rotate(ctx, "k", 90*time.Second, Write{})
		return err
	}},
	{"delete", "DELETE", "/v1/keys/k", "", true, func(ctx context.Context, c *Client) error {
		_, err := c.Delete(ctx, "k", Write{})
		return err
	}},
	{"get", "GET", "/v1/keys/k?user_id=u", "", false, func(ctx context.Context, c *Client) error {
		_, err := c.Get(ctx, "k", "u")
		return err
	}},
	{"list", "GET", "/v1/keys?cursor=c&include_inactive=true&limit=3&user_id=u", "", false, func(ctx context.Context, c *Client) error {
		_, err := c.List(ctx, Query{UserID: "u", IncludeInactive: true, Cursor: "c", Limit: 3})
		return err
	}},
	{"audit", "GET", "/v1/audit?key_id=k", "", false, func(ctx context.Context, c *Client) error {
		_, err := c.Audit(ctx, Query{KeyID: "k"})
		return err
	}},
	{"sync", "GET", "/v1/sync?revision=0000000000000001&scope=fleet&timeout=2s", "", false, func(ctx context.Context, c *Client) error {
		_, err := c.Sync(ctx, "0000000000000001", api.ScopeFleet, 2*time.Second)
		return err
	}},
	{"instances", "GET", "/v1/instances", "", false, func(ctx context.Context, c *Client) error {
		_, err := c.Instances(ctx)
		return err
	}},
	{"verify", "POST", "/v1/keys/verify", `{"key":"kt_secret","scopes":["a"]}`, false, func(ctx context.Context, c *Client) error {
		_, err := c.Verify(ctx, api.VerifyRequest{Key: "kt_secret", Scopes: []string{"a"}})
		return err
	}},
}

// enough is a response that every call can decode.
const enough = `{"id":"k","key":"kt_new","keys":[],"entries":[],"next_cursor":null,"synced":true,"instances":[],"missing":[],"valid":true,"code":"VALID","newer":[1]}`

func TestRequestsOfEachCall(t *testing.T) {
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			server := serve(t, answers(http.StatusOK, "application/json", enough))
			if err := call.do(t.Context(), client(t, server.URL)); err != nil {
				t.Fatal(err)
			}
			seen := server.seen()
			if len(seen) != 1 || seen[0].method != call.method || seen[0].uri != call.uri || seen[0].body != call.body {
				t.Fatalf("%+v\nwant %s %s %s", seen, call.method, call.uri, call.body)
			}
			h := seen[0].header
			if h.Get("Authorization") != "Bearer "+token || h.Get("User-Agent") != "keytail/test" {
				t.Errorf("%v", h)
			}
			if (h.Get("Content-Type") == "application/json") != (call.body != "") {
				t.Errorf("Content-Type %q", h.Get("Content-Type"))
			}
			if (h.Get("If-Match") == `"e0"`) != (call.name == "update") {
				t.Errorf("If-Match %q", h.Get("If-Match"))
			}
		})
	}
}

// TestURLWithAPath: a proxy may add one.
func TestURLWithAPath(t *testing.T) {
	server := serve(t, answers(http.StatusOK, "application/json", enough))
	if _, err := client(t, server.URL+"/keytail/").Get(t.Context(), "k", ""); err != nil || server.seen()[0].uri != "/keytail/v1/keys/k" {
		t.Errorf("%v, %+v", err, server.seen())
	}
}

func TestResponseOfAWrite(t *testing.T) {
	server := serve(t, answers(http.StatusCreated, "application/json", `{"id":"k","key":"kt_new","revision":"000000000000000a","expires_at":"2027-01-02T03:04:05.6Z",
		"scopes":["a"],"synced":false,"instances":[{"id":"i","revision":null,"last_seen":"2026-01-01T00:00:00Z"},{"id":"j","revision":"000000000000000a","last_seen":"2026-01-01T00:00:00Z"}],"missing":["i"],"newer":1}`))
	w, err := client(t, server.URL).Create(t.Context(), Fields{}, Write{})
	if err != nil {
		t.Fatal(err)
	}
	if w.ID != "k" || w.Secret != "kt_new" || *w.Revision != "000000000000000a" || w.Synced || len(w.Instances) != 2 || w.Missing[0] != "i" ||
		w.ExpiresAt.Year() != 2027 || w.ETag != `"e1"` || !strings.Contains(string(w.Raw), "newer") {
		t.Errorf("%+v", w)
	}
}

func TestPagesAreReadItemByItem(t *testing.T) {
	server := serve(t, answers(http.StatusOK, "application/json", `{"keys":[{"id":"a","newer":1},{"id":"b"}],"next_cursor":"c"}`))
	page, err := client(t, server.URL).List(t.Context(), Query{})
	if err != nil || len(page.Items) != 2 || string(page.Items[0]) != `{"id":"a","newer":1}` || page.Next != "c" {
		t.Errorf("%+v, %v", page, err)
	}
}

// TestErrorResponses, for every call: a response with an error status is an Error
// with the server's text, or with a text about who answered.
func TestErrorResponses(t *testing.T) {
	const problemType = "application/problem+json"
	for name, test := range map[string]struct {
		status         int
		kind, body     string
		text, code     string
		unknownIfWrite bool
	}{
		"problem":        {404, problemType, `{"detail":"there is no such key","code":"NO_SUCH_KEY"}`, "there is no such key", "NO_SUCH_KEY", false},
		"token":          {401, problemType, `{"detail":"d","code":"UNAUTHENTICATED"}`, "does not accept this token", "UNAUTHENTICATED", false},
		"path":           {404, problemType, `{"detail":"d","code":"NO_SUCH_PATH"}`, "is this the right listener", "NO_SUCH_PATH", false},
		"database":       {503, problemType, `{"detail":"the database is away","code":"DATABASE_UNAVAILABLE"}`, "the database is away", "DATABASE_UNAVAILABLE", false},
		"not known":      {503, problemType, `{"detail":"not known","code":"OUTCOME_UNKNOWN","key_id":"k7"}`, "not known", "OUTCOME_UNKNOWN", true},
		"proxy":          {502, "text/html", "<html>", "answers 502 Bad Gateway, and not as keytail does", "", true},
		"other server":   {404, "text/plain", "404 page not found", "answers 404 Not Found, and not as keytail does", "", false},
		"elsewhere":      {302, "text/html", "", "which is not followed", "", false},
		"no problem":     {400, problemType, `{"detail":`, "not as keytail does", "", false},
		"terminal codes": {400, problemType, `{"detail":"a\u001b[2Jb\nc","code":"BAD_REQUEST"}`, "a [2Jb c", "BAD_REQUEST", false},
		"token echoed":   {400, problemType, `{"detail":"no ` + token + `","code":"BAD_REQUEST"}`, "no …", "BAD_REQUEST", false},
	} {
		for _, call := range calls {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				server := serve(t, answers(test.status, test.kind, test.body))
				err := call.do(t.Context(), client(t, server.URL))
				var refused *Error
				if !errors.As(err, &refused) || refused.Status != test.status || string(refused.Code) != test.code || !strings.Contains(refused.Error(), test.text) {
					t.Fatalf("%v (%+v)", err, refused)
				}
				var unknown *UnknownError
				if errors.As(err, &unknown) != (call.write && test.unknownIfWrite) {
					t.Errorf("unknown: %v", err)
				}
				if unknown != nil && test.code == "OUTCOME_UNKNOWN" && !strings.Contains(err.Error(), "keytail keys get k7") {
					t.Errorf("%v", err)
				}
				if strings.Contains(err.Error(), token) || strings.ContainsAny(err.Error(), "\x1b\n") {
					t.Errorf("%q", err)
				}
				if len(server.seen()) != 1 {
					t.Errorf("%d requests were sent", len(server.seen()))
				}
			})
		}
	}
}

// TestAWriteIsSentOnce: and if its response is lost, the error reports that the
// outcome is unknown. A read's does not.
func TestAWriteIsSentOnce(t *testing.T) {
	for name, lose := range map[string]http.HandlerFunc{
		"cut before the answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut in the answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"id":"k"`))
		},
		"not JSON":   answers(http.StatusOK, "text/html", "<html>welcome</html>"),
		"no object":  answers(http.StatusOK, "application/json", "[]"),
		"null":       answers(http.StatusOK, "application/json", "null"),
		"nothing":    answers(http.StatusOK, "application/json", "{}"),
		"wrong type": answers(http.StatusOK, "application/json", `{"id":1,"keys":1,"entries":1,"synced":1,"instances":1,"valid":1}`),
		"too long":   answers(http.StatusOK, "application/json", `{"id":"`+strings.Repeat("x", maxBody)),
	} {
		for _, call := range calls {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				server := serve(t, lose)
				err := call.do(t.Context(), client(t, server.URL))
				var unknown *UnknownError
				if err == nil || errors.As(err, &unknown) != call.write {
					t.Errorf("%v", err)
				}
				if name == "too long" && !strings.Contains(err.Error(), "it has more than 16 MiB") {
					t.Errorf("%v", err)
				}
				if call.write && len(server.seen()) != 1 {
					t.Errorf("sent %d times", len(server.seen()))
				}
			})
		}
	}
}

// TestConnectionRefused is not an unknown outcome: nothing was sent.
func TestConnectionRefused(t *testing.T) {
	for _, call := range calls {
		err := call.do(t.Context(), client(t, "http://127.0.0.1:1"))
		var unknown *UnknownError
		if err == nil || errors.As(err, &unknown) || !strings.Contains(err.Error(), "connection refused by http://127.0.0.1:1") {
			t.Errorf("%s: %v", call.name, err)
		}
	}
}

func TestTimeoutOfACall(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c, err := New(Config{httpclient.Config{URL: server.URL}, 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err = c.Get(t.Context(), "k", ""); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("%v", err)
	}
	var unknown *UnknownError
	if _, err = c.Revoke(t.Context(), "k", Write{}); !errors.As(err, &unknown) {
		t.Errorf("%v", err)
	}
	// A wait is on top of it.
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(60 * time.Millisecond)
		defer timer.Stop()
		<-timer.C
		answers(http.StatusOK, "application/json", enough)(w, r)
	})
	waiting, err := New(Config{httpclient.Config{URL: slow.URL}, 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if _, err = waiting.Revoke(t.Context(), "k", Write{Wait: api.ScopeFleet, Timeout: patience}); err != nil {
		t.Errorf("%v", err)
	}
}

// TestARedirectGetsNoToken: a server must not send the token elsewhere.
func TestARedirectGetsNoToken(t *testing.T) {
	other := serve(t, answers(http.StatusOK, "application/json", enough))
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	for _, call := range calls {
		if err := call.do(t.Context(), client(t, server.URL)); err == nil {
			t.Errorf("%s followed", call.name)
		}
	}
	if len(other.seen()) != 0 {
		t.Errorf("%+v", other.seen())
	}
}

func TestANewKeyWithoutItsSecretIsAFailure(t *testing.T) {
	server := serve(t, answers(http.StatusCreated, "application/json", `{"id":"k","revision":"000000000000000a"}`))
	for _, call := range calls {
		if err := call.do(t.Context(), client(t, server.URL)); (call.name == "create" || call.name == "rotate") && !errors.Is(err, errNoSecret) {
			t.Errorf("%s: %v", call.name, err)
		}
	}
}

// TestInconsistentVerdictsAreErrors: a code other than VALID is not valid,
// regardless of the rest of the response (docs/http.md).
func TestInconsistentVerdictsAreErrors(t *testing.T) {
	for body, valid := range map[string]bool{
		`{"valid":true,"code":"VALID"}`: true, `{"valid":false,"code":"NEWER"}`: false,
	} {
		v, err := client(t, serve(t, answers(http.StatusOK, "application/json", body)).URL).Verify(t.Context(), api.VerifyRequest{Key: "kt_secret"})
		if err != nil || v.Valid != valid {
			t.Errorf("%s: %+v, %v", body, v, err)
		}
	}
	for _, body := range []string{`{"valid":true,"code":"DISABLED"}`, `{"valid":false,"code":"VALID"}`, `{"valid":false}`, `{"valid":true}`, `{}`} {
		if v, err := client(t, serve(t, answers(http.StatusOK, "application/json", body)).URL).Verify(t.Context(), api.VerifyRequest{}); err == nil {
			t.Errorf("%s: %+v", body, v)
		}
	}
}

func TestWrongAddresses(t *testing.T) {
	for _, url := range []string{
		"", "127.0.0.1:9091", "ftp://host", "http://", "http://user:hunter2@host", "http://host/?token=hunter2", "http://host/#hunter2", "http://hunter2\x7f",
	} {
		if c, err := New(Config{Config: httpclient.Config{URL: url}}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, %v", url, c, err)
		}
	}
}
