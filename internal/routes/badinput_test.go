package routes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// postVerify is the raw request of a body.
func postVerify(body string) string {
	return fmt.Sprintf("POST /v1/keys/verify HTTP/1.1\r\nHost: keytail\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(body), body)
}

// problemCodeOf is the code in a body, "" when there is none.
func problemCodeOf(t testing.TB, body string) string {
	t.Helper()
	var p struct{ Code string }
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Errorf("no JSON: %v: %.100q", err, body)
	}
	return p.Code
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	server := serve(t, newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}}))
	const key = "key-of-root"
	scopes := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`"a",`, n), ",") + "]" }
	tests := []struct {
		name, body string
		status     int
		code       string
	}{
		{"cut", `{"key":"key-of-root"`, 400, "BAD_REQUEST"},
		{"trailing comma", `{"key":"key-of-root",}`, 400, "BAD_REQUEST"},
		{"single quotes", `{'key':'key-of-root'}`, 400, "BAD_REQUEST"},
		{"comment", `{"key":"key-of-root"/**/}`, 400, "BAD_REQUEST"},
		{"byte order mark", "\ufeff" + `{"key":"key-of-root"}`, 400, "BAD_REQUEST"},
		{"raw control character", "{\"key\":\"key-of-root\x01\"}", 400, "BAD_REQUEST"},
		{"not UTF-8", "{\"key\":\"key-of-root\xff\"}", 400, "BAD_REQUEST"},
		{"UTF-16", "{\x00}\x00", 400, "BAD_REQUEST"},
		{"string", `"key-of-root"`, 400, "BAD_REQUEST"},
		{"null", `null`, 400, "BAD_REQUEST"},
		{"deep", `{"key":` + strings.Repeat("[", 15000) + `}`, 400, "BAD_REQUEST"},
		{"deep and valid", `{"scopes":` + strings.Repeat("[", 8000) + strings.Repeat("]", 8000) + `}`, 400, "BAD_REQUEST"},
		{"key is a number", `{"key":12345678}`, 400, "BAD_REQUEST"},
		{"key is an object", `{"key":{"key":"key-of-root"}}`, 400, "BAD_REQUEST"},
		{"key is an array", `{"key":["key-of-root"]}`, 400, "BAD_REQUEST"},
		{"scopes is a string", `{"key":"key-of-root","scopes":"a"}`, 400, "BAD_REQUEST"},
		{"scopes is null", `{"key":"key-of-root","scopes":null}`, 400, "BAD_REQUEST"},
		{"scopes has null", `{"key":"key-of-root","scopes":["a",null]}`, 400, "BAD_REQUEST"},
		{"scopes has an array", `{"key":"key-of-root","scopes":[["a"]]}`, 400, "BAD_REQUEST"},
		{"an empty scope", `{"key":"key-of-root","scopes":[""]}`, 400, "BAD_REQUEST"},
		{"half a surrogate pair in a scope", `{"key":"key-of-root","scopes":["a\ud800"]}`, 400, "BAD_REQUEST"},
		{"half a surrogate pair in an id", `{"key":"key-of-root","org_id":"a\udfff"}`, 400, "BAD_REQUEST"},
		{"half a surrogate pair in the key", `{"key":"key-of-root\ud800"}`, 200, "MALFORMED"},
		{"a whole surrogate pair", `{"key":"key-of-root","org_id":"\ud83d\ude00"}`, 200, "VALID"},
		{"100 scopes", `{"key":"key-of-root","scopes":` + scopes(100) + `}`, 200, "VALID"},
		{"101 scopes", `{"key":"key-of-root","scopes":` + scopes(101) + `}`, 400, "BAD_REQUEST"},
		{"a long id", `{"key":"key-of-root","org_id":"` + strings.Repeat("o", 257) + `"}`, 400, "BAD_REQUEST"},
		{"ip is a network", `{"key":"key-of-root","ip":"192.0.2.0/24"}`, 400, "BAD_REQUEST"},
		{"ip is empty", `{"key":"key-of-root","ip":""}`, 400, "BAD_REQUEST"},
		{"ip has a zone", `{"key":"key-of-root","ip":"fe80::1%eth0"}`, 400, "BAD_REQUEST"},
		{"ip is a name", `{"key":"key-of-root","ip":"localhost"}`, 400, "BAD_REQUEST"},
		{"an empty revision", `{"key":"key-of-root","min_revision":""}`, 400, "BAD_REQUEST"},
		{"revision is null", `{"key":"key-of-root","min_revision":null}`, 400, "BAD_REQUEST"},
		{"a signed revision", `{"key":"key-of-root","min_revision":"+6923a1c00000003"}`, 400, "BAD_REQUEST"},
		{"a revision of 17 digits", `{"key":"key-of-root","min_revision":"06923a1c000000003"}`, 400, "BAD_REQUEST"},
		{"a revision with underscores", `{"key":"key-of-root","min_revision":"6923_1c000000003"}`, 400, "BAD_REQUEST"},
		{"revision zero", `{"key":"key-of-root","min_revision":"0000000000000000"}`, 200, "VALID"},
		{"the last revision", `{"key":"key-of-root","min_revision":"ffffffffffffffff"}`, 400, "BAD_REQUEST"},
		{"same field twice with one value", `{"key":"key-of-root","key":"key-of-root"}`, 400, "BAD_REQUEST"},
		{"an unknown field that is a key", `{"key-of-root":1}`, 400, "BAD_REQUEST"},
		{"an empty field name", `{"":"key-of-root"}`, 400, "BAD_REQUEST"},
		{"white space around", " \n{ \"key\" : \"key-of-root\" }\r\n ", 200, "VALID"},
		{"a key of 1 byte", `{"key":"k"}`, 200, "MALFORMED"},
		{"a key of 10 KB", `{"key":"` + strings.Repeat("k", 10<<10) + `"}`, 200, "MALFORMED"},
		{"exactly 16 KiB", `{"key":"key-of-root"` + strings.Repeat(" ", maxBody-21) + `}`, 200, "VALID"},
		{"one byte over 16 KiB", `{"key":"key-of-root"` + strings.Repeat(" ", maxBody-20) + `}`, 413, "BODY_TOO_LARGE"},
		{"a key of 1 MB", `{"key":"` + strings.Repeat("k", 1<<20) + `"}`, 413, "BODY_TOO_LARGE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := exchange(t, server, http.MethodPost, postVerify(test.body))
			checkAlways(t, got, key)
			if code := problemCodeOf(t, got.body); got.StatusCode != test.status || code != test.code {
				t.Errorf("%d %s, want %d %s", got.StatusCode, code, test.status, test.code)
			}
		})
	}
}

// TestChunkedBodies: a body without a length is limited while it is read, and the
// connection is then closed.
func TestChunkedBodies(t *testing.T) {
	t.Parallel()
	server := serve(t, newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}}))
	head := "POST /v1/keys/verify HTTP/1.1\r\nHost: keytail\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
	chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
	for name, test := range map[string]struct {
		body   string
		status int
	}{
		"whole":      {chunk(`{"key":"key-`) + chunk(`of-root"}`) + "0\r\n\r\n", 200},
		"too long":   {chunk(`{"key":"key-of-root"}`) + chunk(strings.Repeat(" ", maxBody)) + "0\r\n\r\n", 413},
		"bad chunks": {"xyz\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := exchange(t, server, http.MethodPost, head+test.body)
			checkAlways(t, got, "key-of-root")
			if got.StatusCode != test.status || got.Close != (test.status != 200) {
				t.Errorf("status %d, want %d; closes: %v", got.StatusCode, test.status, got.Close)
			}
		})
	}
}

func TestBadHeaders(t *testing.T) {
	t.Parallel()
	server := serve(t, newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}}))
	long := strings.Repeat("k", 10<<10)
	tests := []struct {
		name, headers string
		status        int
	}{
		{"a 10 KB key", "X-Api-Key: " + long, 401},
		{"a 10 KB bearer token", "Authorization: Bearer " + long, 401},
		{"a 10 KB scheme", "Authorization: " + long, 401},
		{"a 10 KB request id", "X-Request-Id: " + long + "\r\nX-Api-Key: key-of-root", 200},
		{"two request ids", "X-Request-Id: a\r\nX-Request-Id: b\r\nX-Api-Key: key-of-root", 200},
		{"a 10 KB list of hops", "X-Forwarded-For: " + strings.Repeat("10.0.0.1,", 1000) + "\r\nX-Api-Key: key-of-root", 200},
		{"a 10 KB cookie", "Cookie: sid=" + long + "\r\nX-Api-Key: key-of-root", 200},
		{"a tab in a key", "X-Api-Key: key-of\troot", 401},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := exchange(t, server, http.MethodGet, "GET /v1/auth HTTP/1.1\r\nHost: keytail\r\n"+test.headers+"\r\n\r\n")
			checkAlways(t, got, long, "key-of-root")
			if got.StatusCode != test.status {
				t.Errorf("status %d, want %d", got.StatusCode, test.status)
			}
		})
	}
	// These never reach a handler: net/http refuses them in plain text.
	for name, test := range map[string]struct {
		headers string
		status  int
	}{
		"a control character": {"X-Api-Key: key-of-root\x01", 400},
		"a 2 MB key":          {"X-Api-Key: " + strings.Repeat("k", 2<<20), 431},
	} {
		got := exchange(t, server, http.MethodGet, "GET /v1/auth HTTP/1.1\r\nHost: keytail\r\n"+test.headers+"\r\n\r\n")
		if got.StatusCode != test.status || strings.Contains(got.body, "key-of-root") {
			t.Errorf("%s: status %d, want %d: %s", name, got.StatusCode, test.status, got.body)
		}
	}
}

// TestLogContainsNoKey: for every input, no line at any level contains the key.
func TestLogContainsNoKey(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}, Logger: zap.New(core)})
	server := serve(t, handler)
	const key = "key-of-root"
	requests := []string{
		postVerify(`{"key":"key-of-root"}`), postVerify(`{"key-of-root":1}`), postVerify(`key-of-root`),
		"GET /v1/auth HTTP/1.1\r\nHost: keytail\r\nX-Api-Key: key-of-root\r\nX-Request-Id: key-of-root\r\n\r\n",
		"GET /v1/auth?key=key-of-root HTTP/1.1\r\nHost: keytail\r\nUser-Agent: key-of-root\r\n\r\n",
		"GET /v1/auth?%zz HTTP/1.1\r\nHost: keytail\r\nX-Api-Key: key-of-root\r\nX-Request-Id: key-of-root\r\n\r\n",
		"GET /v1/keys/key-of-root HTTP/1.1\r\nHost: key-of-root\r\n\r\n",
		"GET /nowhere HTTP/1.1\r\nHost: keytail\r\nAuthorization: Bearer key-of-root\r\nX-Request-Id: key-of-root\r\n\r\n",
		"POST /v1/keys/verify HTTP/1.1\r\nHost: keytail\r\nX-Request-Id: key-of-root\r\nContent-Length: 21\r\n\r\n{\"key\":\"key-of-root\"}",
		"DELETE /v1/keys/verify HTTP/1.1\r\nHost: keytail\r\nX-Api-Key: key-of-root\r\n\r\n",
	}
	for _, raw := range requests {
		method, _, _ := strings.Cut(raw, " ")
		checkAlways(t, exchange(t, server, method, raw), key)
	}
	server.Close()
	if logs.Len() != len(requests) {
		t.Errorf("%d lines for %d requests", logs.Len(), len(requests))
	}
	for _, line := range logs.All() {
		if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, key) {
			t.Errorf("a line holds the key: %s", text)
		}
	}
}

// TestAKeyInThePlaceOfAnotherTextIsRefused: what is taken for an id, a scope or a name gets into
// answers, the audit and the decision log.
func TestAKeyInThePlaceOfAnotherTextIsRefused(t *testing.T) {
	t.Parallel()
	key, err := apikey.Generate("acme", nil)
	if err != nil {
		t.Fatal(err)
	}
	admin := newGoldenAdmin(t)
	public := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}})
	for _, c := range []struct {
		handler            http.Handler
		method, path, body string
	}{
		{public, "GET", "/v1/auth?scope=KEY", ""},
		{public, "GET", "/v1/auth?org_id=KEY", ""},
		{public, "POST", "/v1/keys/verify", `{"key":"key-of-root","scopes":["KEY"]}`},
		{public, "POST", "/v1/keys/verify", `{"key":"key-of-root","project_id":"KEY"}`},
		{admin, "GET", "/v1/keys?user_id=KEY", ""},
		{admin, "GET", "/v1/audit?key_id=KEY", ""},
		{admin, "GET", "/v1/keys/KEY", ""},
		{admin, "POST", "/v1/keys/revoke", `{"user_id":"KEY","dry_run":true}`},
		{admin, "POST", "/v1/keys", `{"user_id":"KEY"}`},
		{admin, "POST", "/v1/keys", `{"user_id":"u","name":"KEY"}`},
		{admin, "POST", "/v1/keys", `{"user_id":"u","scopes":["KEY"]}`},
	} {
		for text, status := range map[string]int{key: http.StatusBadRequest, key[:len(key)-1]: 0} {
			replace := strings.NewReplacer("KEY", text)
			got := askAdmin(c.handler, c.method, replace.Replace(c.path), replace.Replace(c.body))
			if (got.StatusCode == http.StatusBadRequest) != (status == http.StatusBadRequest) || status != 0 && strings.Contains(got.body, text) {
				t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, got.StatusCode, got.body)
			}
		}
	}
}
