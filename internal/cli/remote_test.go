package cli

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

// Secrets that no test may find in the wrong place.
const (
	adminToken  = "0123456789abcdef-admin"
	callerToken = "0123456789abcdef-caller"
	newSecret   = "kt_the-new-key-itself"
)

// key1 is a key as the server shows it.
const key1 = `"id":"k1","key_prefix":"kt_the","user_id":"u1","org_id":"o1","project_id":null,"name":"first","scopes":["a","b:*"],"allowed_ips":["10.0.0.0/8"],
	"expires_at":"2999-01-02T03:04:05.6Z","metadata":{"team":"x"},"is_active":true,"created_at":"2026-01-02T03:04:05Z","last_used":null,"usage_count":7,"rotated_from":null,"defect":null`

// fakeDaemon responds like a daemon with one key.
type fakeDaemon struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method, address and body of each request
	// responses overrides the answer to a path, as status and body.
	responses map[string]fakeResponse
	// hold is called before each answer. Nil: nothing.
	hold func(r *http.Request)
}

type fakeResponse struct {
	status int
	body   string
}

func newFakeDaemon(t *testing.T) *fakeDaemon {
	t.Helper()
	f := &fakeDaemon{responses: map[string]fakeResponse{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	t.Setenv("KEYTAIL_ADMIN_URL", f.URL)
	t.Setenv("KEYTAIL_URL", f.URL)
	t.Setenv(envToken, adminToken)
	return f
}

func (f *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.RequestURI+" "+string(body))
	response, given := f.responses[r.URL.Path]
	f.mu.Unlock()
	if f.hold != nil {
		f.hold(r)
	}
	if !given {
		response = f.answer(r)
	}
	kind := "application/json"
	switch {
	case response.status >= http.StatusBadRequest:
		kind = "application/problem+json"
	case r.URL.Path == "/v1/events":
		kind = "text/event-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("ETag", `"e1"`)
	w.WriteHeader(response.status)
	_, _ = io.WriteString(w, response.body)
}

func (f *fakeDaemon) answer(r *http.Request) fakeResponse {
	want := adminToken
	if r.URL.Path == "/v1/keys/verify" {
		want = callerToken
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+want && (got != "" || want == adminToken) {
		return fakeResponse{http.StatusUnauthorized, `{"detail":"this listener wants a token","code":"UNAUTHENTICATED"}`}
	}
	receipt := ""
	if r.URL.Query().Has("wait") {
		receipt = `,"synced":true,"instances":[{"id":"i1","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"},{"id":"i2","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"}],"missing":[]`
	}
	written := key1 + `,"revision":"000000000000000a"` + receipt
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/keys", "POST /v1/keys/k1/rotate":
		return fakeResponse{http.StatusCreated, `{"key":"` + newSecret + `",` + written + `}`}
	case "PATCH /v1/keys/k1", "DELETE /v1/keys/k1", "POST /v1/keys/k1/revoke":
		return fakeResponse{http.StatusOK, `{` + written + `}`}
	case "GET /v1/keys/k1":
		return fakeResponse{http.StatusOK, `{` + key1 + `}`}
	case "GET /v1/keys":
		if r.URL.Query().Get("cursor") != "" {
			return fakeResponse{http.StatusOK, `{"keys":[{"id":"k2","user_id":"u2","is_active":false}],"next_cursor":null}`}
		}
		return fakeResponse{http.StatusOK, `{"keys":[{` + key1 + `}],"next_cursor":"c1"}`}
	case "GET /v1/audit":
		return fakeResponse{http.StatusOK, `{"entries":[{"id":"e1","at":"2026-01-02T03:04:05.678Z","actor":"ops","action":"update","key_id":"k1","new_key_id":null,"user_id":"u1","request_id":"r","before":{"name":"a","scopes":[]},"after":{"name":"b"}},
			{"id":"e0","at":"2026-01-02T03:04:04Z","actor":"ops","action":"rotate","key_id":"k0","new_key_id":"k1","user_id":"u1","request_id":"r","before":{},"after":{}},
			{"id":"e0","at":"2026-01-02T03:04:03Z","actor":"ops","action":"create","key_id":"k0","new_key_id":null,"user_id":"u1","request_id":"r","before":null,"after":{"name":"z"}}],"next_cursor":null}`}
	case "GET /v1/instances":
		return fakeResponse{http.StatusOK, `{"instances":[{"id":"i1","version":"v1","revision":"000000000000000a","staleness_ms":12,"last_seen":"2026-01-02T03:04:05Z"}]}`}
	case "GET /v1/sync":
		return fakeResponse{http.StatusOK, `{"synced":true,"instances":[{"id":"i1","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"}],"missing":[]}`}
	case "POST /v1/keys/verify":
		return fakeResponse{http.StatusOK, `{"valid":true,"code":"VALID","key_id":"k1","user_id":"u1","scopes":["a"],"staleness_ms":3,"source":"cache","revision":"000000000000000a"}`}
	}
	return fakeResponse{http.StatusNotFound, `{"detail":"there is no such key","code":"NO_SUCH_KEY"}`}
}

func (f *fakeDaemon) seenRequests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// depsWithStdin is a Deps whose standard input is this text.
func depsWithStdin(text string) Deps { return Deps{Version: "v1.2.3", Stdin: strings.NewReader(text)} }

// TestRemoteCommands: the request of each command, and its output.
func TestRemoteCommands(t *testing.T) {
	t.Setenv(envCallerToken, callerToken)
	for name, test := range map[string]struct {
		args     []string
		requests []string
		code     int
		stdout   []string // in this order
		stderr   string
	}{
		"create": {
			[]string{"keys", "create", "--user-id=u1", "--org-id=o1", "--name=first", "--scopes=a,b:*", "--allowed-ips=10.0.0.0/8", "--expires=2999-01-02T03:04:05Z", `--metadata={"team":"x"}`},
			[]string{`POST /v1/keys {"allowed_ips":["10.0.0.0/8"],"expires_at":"2999-01-02T03:04:05Z","metadata":{"team":"x"},"name":"first","org_id":"o1","scopes":["a","b:*"],"user_id":"u1"}`},
			exitOK,
			[]string{
				"key           " + newSecret + "\n", "id            k1\n", "name          first\n", "state         valid\n", "organisation  o1\n", "scopes        a b:*\n",
				"expires       2999-01-02T03:04:05Z\n", "uses          7\n", `metadata      {"team":"x"}` + "\n", "revision      000000000000000a\n",
			},
			"keytail: the key is shown only now: it cannot be read again\n",
		},
		"create quietly": {
			[]string{"keys", "create", "--user-id=u1", "-q"},
			[]string{`POST /v1/keys {"user_id":"u1"}`},
			exitOK,
			[]string{newSecret + "\n"},
			"the key is shown only now",
		},
		"create and wait": {
			[]string{"keys", "create", "--user-id=u1", "-q", "--wait=fleet"},
			[]string{`POST /v1/keys?timeout=5s&wait=fleet {"user_id":"u1"}`},
			exitOK,
			[]string{newSecret + "\n"},
			"keytail: created on 2 of 2 instances in ",
		},
		"create for scripts": {
			[]string{"keys", "create", "--user-id=u1", "-o", "json"},
			[]string{`POST /v1/keys {"user_id":"u1"}`},
			exitOK,
			[]string{"{\n  \"key\": \"" + newSecret + "\"", `"id": "k1"`, "\n}\n"},
			"the key is shown only now",
		},
		"update": {
			[]string{"keys", "update", "k1", "--scopes=", "--expires=never", "--clear=name", `--if-match="e0"`, "--user-id=u1"},
			[]string{`PATCH /v1/keys/k1?user_id=u1 {"expires_at":null,"name":null,"scopes":[]}`},
			exitOK,
			[]string{"id            k1\n"},
			"",
		},
		"revoke": {
			[]string{"keys", "revoke", "k1", "--wait=instance", "--timeout=2s"},
			[]string{`POST /v1/keys/k1/revoke?timeout=2s&wait=instance `},
			exitOK,
			[]string{"revision      000000000000000a\n"},
			"keytail: revoked on 2 of 2 instances in ",
		},
		"rotate": {
			[]string{"keys", "rotate", "k1", "--overlap=1d"},
			[]string{`POST /v1/keys/k1/rotate {"overlap_seconds":86400}`},
			exitOK,
			[]string{"key           " + newSecret + "\n"},
			"the key is shown only now",
		},
		"delete": {
			[]string{"keys", "delete", "k1"},
			[]string{`DELETE /v1/keys/k1 `},
			exitOK,
			[]string{"id            k1\n"},
			"",
		},
		"get": {
			[]string{"keys", "get", "k1"},
			[]string{`GET /v1/keys/k1 `},
			exitOK,
			[]string{"id            k1\n", `etag          "e1"` + "\n"},
			"",
		},
		"list": {
			[]string{"keys", "list", "--limit=1", "--user-id=u1", "--include-inactive"},
			[]string{`GET /v1/keys?include_inactive=true&limit=1&user_id=u1 `},
			exitOK,
			[]string{
				"ID  NAME   STATE  USER  SCOPES  EXPIRES               LAST USED\n",
				"k1  first  valid  u1    a b:*   2999-01-02T03:04:05Z  -\n",
			},
			"keytail: there are more: --cursor c1 goes on, --all shows all\n",
		},
		"list all quietly": {
			[]string{"keys", "list", "--all", "--quiet"},
			[]string{`GET /v1/keys `, `GET /v1/keys?cursor=c1 `},
			exitOK,
			[]string{"k1\nk2\n"},
			"",
		},
		"list for scripts": {
			[]string{"keys", "list", "--all", "--output=json"},
			[]string{`GET /v1/keys `, `GET /v1/keys?cursor=c1 `},
			exitOK,
			[]string{"{\n  \"keys\": [\n    {\n      \"id\": \"k1\"", "\n    },\n    {\n      \"id\": \"k2\"", "\n    }\n  ],\n  \"next_cursor\": null\n}\n"},
			"",
		},
		"audit": {
			[]string{"audit", "--key-id=k1"},
			[]string{`GET /v1/audit?key_id=k1 `},
			exitOK,
			[]string{
				"AT                    ACTOR  ACTION  KEY  USER  CHANGED\n", "2026-01-02T03:04:05Z  ops    update  k1   u1    name scopes\n",
				"rotate  k0   u1    new key k1\n", "create  k0   u1    -\n",
			},
			"",
		},
		"instances": {
			[]string{"instances"},
			[]string{`GET /v1/instances `},
			exitOK,
			[]string{"ID  VERSION  REVISION          STALENESS  LAST SEEN\n", "i1  v1       000000000000000a  12 ms      2026-01-02T03:04:05Z\n"},
			"",
		},
		"sync": {
			[]string{"sync", "000000000000000a", "--timeout=3s"},
			[]string{`GET /v1/sync?revision=000000000000000a&scope=fleet&timeout=3s `},
			exitOK,
			[]string{"i1  yes     000000000000000a"},
			"keytail: 1 of 1 instances have the revision in ",
		},
		"verify": {
			[]string{"verify", "--scopes=a", "--min-revision=000000000000000a"},
			[]string{`POST /v1/keys/verify {"key":"kt_asked","scopes":["a"],"min_revision":"000000000000000a"}`},
			exitOK,
			[]string{"code       VALID\n", "key id     k1\n", "staleness  3 ms\n"},
			"",
		},
		"verify quietly": {[]string{"verify", "-q"}, []string{`POST /v1/keys/verify {"key":"kt_asked"}`}, exitOK, []string{"VALID\n"}, ""},
		"no such key":    {[]string{"keys", "get", "k9"}, []string{`GET /v1/keys/k9 `}, exitFailure, nil, "keytail: there is no such key\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeDaemon(t)
			code, stdout, stderr := finish(t, depsWithStdin("kt_asked\n"), test.args...)
			if code != test.code || !slices.Equal(f.seenRequests(), test.requests) {
				t.Errorf("exit code %d, asked %q, want %q", code, f.seenRequests(), test.requests)
			}
			rest := stdout
			for _, text := range test.stdout {
				_, after, found := strings.Cut(rest, text)
				if !found {
					t.Errorf("stdout lacks %q after what is before it:\n%s", text, stdout)
				}
				rest = after
			}
			if test.stdout == nil && stdout != "" || slices.Contains(test.args, "-q") && stdout != test.stdout[0] {
				t.Errorf("stdout:\n%s", stdout)
			}
			if !strings.Contains(stderr, test.stderr) || test.stderr == "" && stderr != "" {
				t.Errorf("stderr:\n%s", stderr)
			}
			for _, secret := range []string{adminToken, callerToken, newSecret, "kt_asked"} {
				if strings.Contains(stderr, secret) || secret != newSecret && strings.Contains(stdout, secret) {
					t.Errorf("%s is shown:\n%s%s", secret, stdout, stderr)
				}
			}
			if strings.Count(stdout, newSecret) > 1 {
				t.Errorf("the key is shown more than once:\n%s", stdout)
			}
			if slices.Contains(test.args, "json") || slices.Contains(test.args, "--output=json") {
				if !json.Valid([]byte(stdout)) {
					t.Errorf("no JSON:\n%s", stdout)
				}
			}
		})
	}
}

// TestAWaitThatTimesOutIsNotAFailure: nobody must rotate twice because of it.
func TestAWaitThatTimesOutIsNotAFailure(t *testing.T) {
	const instances = `"synced":false,"instances":[{"id":"i1","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"},{"id":"i2","revision":null,"last_seen":"2026-01-02T03:04:05Z"}],"missing":["i2"]`
	f := newFakeDaemon(t)
	f.responses["/v1/keys/k1/revoke"] = fakeResponse{http.StatusOK, `{` + key1 + `,"revision":"000000000000000a",` + instances + `}`}
	code, _, stderr := finish(t, Deps{}, "keys", "revoke", "k1", "--wait=fleet")
	if code != exitOK || !strings.Contains(stderr, "keytail: revoked; 1 of 2 instances applied the change within ") ||
		!strings.Contains(stderr, ", not yet i2. Do not repeat the write. To wait again: keytail sync 000000000000000a\n") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	f.responses["/v1/keys/k1/revoke"] = fakeResponse{http.StatusOK, `{` + key1 + `,"revision":"000000000000000a","synced":false,"instances":[],"missing":[]}`}
	code, _, stderr = finish(t, Deps{}, "keys", "revoke", "k1", "--wait=fleet")
	if code != exitOK || !strings.Contains(stderr, "revoked; no instance confirmed the change") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	// Sync itself then fails.
	f.responses["/v1/sync"] = fakeResponse{http.StatusOK, `{` + instances + `}`}
	code, stdout, stderr := finish(t, Deps{}, "sync", "000000000000000a")
	if code != exitFailure || !strings.Contains(stdout, "i2  no      -") || !strings.Contains(stderr, "1 of 2 instances have the revision in ") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}

// TestVerifyExitCodes: 0 means valid.
func TestVerifyExitCodes(t *testing.T) {
	for body, want := range map[string]struct {
		status, code   int
		stdout, stderr string
	}{
		`{"valid":true,"code":"VALID"}`:                               {200, exitOK, "VALID\n", ""},
		`{"valid":false,"code":"EXPIRED","key_id":"k1"}`:              {200, exitFailure, "EXPIRED\n", ""},
		`{"valid":false,"code":"NEWER_THAN_THIS"}`:                    {200, exitFailure, "NEWER_THAN_THIS\n", ""},
		`{"valid":true,"code":"DISABLED"}`:                            {200, exitFailure, "", "the verdict is inconsistent"},
		`{"detail":"the truth cannot be known","code":"UNAVAILABLE"}`: {503, exitFailure, "", "keytail: UNAVAILABLE: the truth cannot be known\n"},
		`{"detail":"send a caller token","code":"UNAUTHENTICATED"}`:   {401, exitFailure, "", "UNAUTHENTICATED: "},
		`{"valid":true`: {200, exitFailure, "", "cannot be read"},
	} {
		f := newFakeDaemon(t)
		f.responses["/v1/keys/verify"] = fakeResponse{want.status, body}
		code, stdout, stderr := finish(t, depsWithStdin("kt_asked"), "verify", "-q")
		if code != want.code || stdout != want.stdout || !strings.Contains(stderr, want.stderr) || want.stderr == "" && stderr != "" {
			t.Errorf("%s: exit code %d, %q, %q", body, code, stdout, stderr)
		}
	}
}

func TestTheAdminTokenIsNotSentToThePublicListener(t *testing.T) {
	f := newFakeDaemon(t)
	f.hold = func(r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("verify sends %q", got)
		}
	}
	if code, _, stderr := finish(t, depsWithStdin("kt_asked"), "verify"); code != exitOK {
		t.Error(stderr)
	}
}

func TestRemoteMistakes(t *testing.T) {
	f := newFakeDaemon(t)
	secret, err := apikey.Generate("kt", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args   []string
		stderr []string
	}{
		"two at once":          {[]string{"keys", "create", "--expires=soon", "--metadata=[]"}, []string{"--expires must be", "--metadata must be a JSON object", "--user-id is missing"}},
		"timeout alone":        {[]string{"keys", "revoke", "k1", "--timeout=1s"}, []string{"--timeout needs --wait"}},
		"timeout too long":     {[]string{"keys", "revoke", "k1", "--wait=fleet", "--timeout=2m"}, []string{"at most 1m"}},
		"no timeout":           {[]string{"sync", "000000000000000a", "--timeout=0s"}, []string{"--timeout must be more than 0"}},
		"wait for whom":        {[]string{"keys", "revoke", "k1", "--wait=all"}, []string{"--wait must be one of"}},
		"nothing to change":    {[]string{"keys", "update", "k1"}, []string{"nothing to change"}},
		"give and take":        {[]string{"keys", "update", "k1", "--name=a", "--clear=name"}, []string{"both set and cleared: name"}},
		"no overlap":           {[]string{"keys", "rotate", "k1"}, []string{"--overlap is missing"}},
		"negative overlap":     {[]string{"keys", "rotate", "k1", "--overlap=-1s"}, []string{"--overlap must be"}},
		"half a second":        {[]string{"keys", "rotate", "k1", "--overlap=500ms"}, []string{"--overlap must be"}},
		"no id":                {[]string{"keys", "get"}, []string{"<id>"}},
		"empty id":             {[]string{"keys", "get", ""}, []string{"the id of the key is empty"}},
		"a key for its id":     {[]string{"keys", "get", secret}, []string{"this is a key and not an id"}},
		"not a revision":       {[]string{"sync", "latest"}, []string{"16 hex digits"}},
		"output":               {[]string{"keys", "list", "--output=xml"}, []string{"--output must be one of"}},
		"not a number":         {[]string{"keys", "list", "--limit=x"}, []string{`keytail: --limit must be a whole number`}},
		"address":              {[]string{"keys", "list", "--admin-url=nowhere"}, []string{"--admin-url: it must be an address such as"}},
		"unencrypted":          {[]string{"keys", "list", "--admin-url=http://10.0.0.1:9091"}, []string{"the token would cross the network unencrypted"}},
		"half a certificate":   {[]string{"instances", "--client-cert-file=x"}, []string{"must be given together"}},
		"no authorities":       {[]string{"instances", "--ca-file=/dev/null"}, []string{"has no certificate in PEM"}},
		"no file":              {[]string{"instances", "--ca-file=/none", "--token-file=/none"}, []string{"--token-file: open /none", "--ca-file: open /none"}},
		"a key in argv":        {[]string{"verify", secret}, []string{"a key on the command line is visible"}},
		"a key as a flag":      {[]string{"verify", "--key", secret}, []string{"unknown flag --key"}},
		"a token as a flag":    {[]string{"keys", "list", "--token", adminToken}, []string{"unknown flag --token"}},
		"which keys command":   {[]string{"keys"}, []string{`expected one of "create"`}},
		"a shell of no renown": {[]string{"completion", "ksh"}, []string{"must be one of"}},
	} {
		code, stdout, stderr := finish(t, depsWithStdin("kt_asked"), test.args...)
		if code != exitUsage || stdout != "" {
			t.Errorf("%s: exit code %d, %s", name, code, stdout)
		}
		for _, text := range test.stderr {
			if !strings.Contains(stderr, text) {
				t.Errorf("%s: stderr lacks %q:\n%s", name, text, stderr)
			}
		}
		if strings.Contains(stderr, secret) || strings.Contains(stderr, adminToken) {
			t.Errorf("%s shows a secret:\n%s", name, stderr)
		}
	}
	for _, text := range []string{"kt_one\nkt_two", strings.Repeat("x", maxKeyText+1)} {
		if code, _, stderr := finish(t, depsWithStdin(text), "verify"); code != exitUsage || !strings.Contains(stderr, "must be one line with a key") || strings.Contains(stderr, "kt_") {
			t.Errorf("exit code %d, %s", code, stderr)
		}
	}
	t.Setenv(envCallerToken, callerToken)
	if code, _, stderr := finish(t, depsWithStdin("kt_asked"), "verify", "--url=http://10.0.0.1:8080"); code != exitUsage || !strings.Contains(stderr, "cross the network unencrypted") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if asked := f.seenRequests(); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
}

// TestReadToken: a file with a token, or one of serve's own with a single line.
func TestReadToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for content, want := range map[string]string{
		adminToken + "\n":                  adminToken,
		"# mine\n\n  " + adminToken + " ":  adminToken,
		"ops=" + adminToken:                adminToken,
		"c2hvcnQgdG9rZW4gaW4gYmFzZTY0Cg==": "c2hvcnQgdG9rZW4gaW4gYmFzZTY0Cg==",
		"":                                 "",
		"ops=" + adminToken + "\nother=" + adminToken: "",
		"two words":           "",
		"umlaut-ä-0123456789": "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readToken(path, envToken)
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), adminToken) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readToken(path, envToken); err == nil || !strings.Contains(err.Error(), "chmod o-rwx") {
		t.Errorf("%v", err)
	}
	t.Setenv(envToken, adminToken+"\nx")
	if got, err := readToken("", envToken); err == nil || strings.Contains(err.Error(), adminToken) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTheTokenOfAFileIsSent(t *testing.T) {
	newFakeDaemon(t)
	t.Setenv(envToken, "another-token-of-the-environment")
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("ops="+adminToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := finish(t, Deps{}, "instances", "--token-file", path); code != exitOK {
		t.Error(stderr)
	}
	if code, _, stderr := finish(t, Deps{}, "instances"); code != exitFailure || !strings.Contains(stderr, "does not accept this token") || strings.Contains(stderr, "another-token") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	t.Setenv(envToken, "")
	if code, _, stderr := finish(t, Deps{}, "instances"); code != exitUsage || !strings.Contains(stderr, "no admin token is given") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestInvalidResponses, and no response: exit code 1 and a message.
func TestInvalidResponses(t *testing.T) {
	commands := [][]string{
		{"keys", "create", "--user-id=u"},
		{"keys", "list"},
		{"keys", "get", "k1"},
		{"keys", "update", "k1", "--name=x"},
		{"keys", "revoke", "k1"},
		{"keys", "rotate", "k1", "--overlap=0s"},
		{"keys", "delete", "k1"},
		{"audit"},
		{"instances"},
		{"sync", "000000000000000a"},
		{"verify"},
		{"events"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	t.Cleanup(server.Close)
	t.Setenv(envToken, adminToken)
	for url, text := range map[string]string{server.URL: "keytail", "http://127.0.0.1:1": "connection refused by http://127.0.0.1:1"} {
		t.Setenv("KEYTAIL_ADMIN_URL", url)
		t.Setenv("KEYTAIL_URL", url)
		for _, args := range commands {
			code, stdout, stderr := finish(t, depsWithStdin("kt_asked"), args...)
			if code != exitFailure || stdout != "" || !strings.Contains(stderr, text) || strings.Contains(stderr, adminToken) {
				t.Errorf("%q: exit code %d, %s%s", args, code, stdout, stderr)
			}
			lost := strings.Contains(stderr, "it is not known whether the write took effect")
			write := args[0] == "keys" && args[1] != "list" && args[1] != "get"
			if lost != (write && url == server.URL) {
				t.Errorf("%q: %s", args, stderr)
			}
		}
	}
}

// TestTablesCannotControlATerminal, whatever a document contains.
func TestTablesCannotControlATerminal(t *testing.T) {
	f := newFakeDaemon(t)
	f.responses["/v1/keys"] = fakeResponse{http.StatusOK, `{"keys":[{"id":"k\u001b[2J","name":"a\nb\tc\u202ed","user_id":"\u009b"}],"next_cursor":"\u001b[2J"}`}
	for _, args := range [][]string{{"keys", "list"}, {"keys", "list", "-q"}, {"keys", "list", "-o", "json"}} {
		_, stdout, stderr := finish(t, Deps{}, args...)
		if strings.ContainsAny(stdout+stderr, "\x1b\t\u202e\u009b") && args[len(args)-1] != "json" || strings.ContainsAny(stdout, "\x1b") {
			t.Errorf("%q: %q", args, stdout+stderr)
		}
	}
}

func TestAListThatRepeatsItsPageEnds(t *testing.T) {
	f := newFakeDaemon(t)
	f.responses["/v1/keys"] = fakeResponse{http.StatusOK, `{"keys":[],"next_cursor":"c"}`}
	if code, _, stderr := finish(t, Deps{}, "keys", "list", "--all"); code != exitFailure || !strings.Contains(stderr, "is the same page") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// fullDisk is a full disk.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestAKeyThatCannotBePrintedIsReportedAsLost(t *testing.T) {
	newFakeDaemon(t)
	stderr := newBuffer()
	code := execute(t.Context(), []string{"keys", "create", "--user-id=u1"}, fullDisk{}, stderr, Deps{})
	if code != exitFailure || !strings.Contains(stderr.String(), "the new key is lost: revoke k1") || strings.Contains(stderr.String(), newSecret) {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestEventsUntilCtrlC: each line is printed immediately, and the exit code is 0.
func TestEventsUntilCtrlC(t *testing.T) {
	t.Setenv(envToken, adminToken)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "id: 1\nevent: invalidation\ndata: {\"key_id\":\"k1\",\"revision\":\"000000000000000a\"}\n\nid: 2\nevent: state\ndata: {\"to\":\"x\\u001b[2J\",\"from\":%q}\n\n", r.Header.Get("Last-Event-ID"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	t.Setenv("KEYTAIL_ADMIN_URL", server.URL)
	r := start([]string{"events", "--last-event-id=0"}, Deps{})
	if line := r.stdout.waitFor(t, "invalidation"); !strings.HasSuffix(line, "  invalidation  key_id=k1 revision=000000000000000a") {
		t.Errorf("%q", line)
	}
	if line := r.stdout.waitFor(t, "state"); !strings.HasSuffix(line, "from=0 to=x?[2J") {
		t.Errorf("%q", line)
	}
	r.signal(t)
	if code := r.wait(t); code != exitOK || r.stderr.String() != "" {
		t.Errorf("exit code %d, %s", code, r.stderr)
	}
	r = start([]string{"events", "-o", "json"}, Deps{})
	if line := r.stdout.waitFor(t, "invalidation"); line != `{"id":"1","event":"invalidation","data":{"key_id":"k1","revision":"000000000000000a"}}` {
		t.Errorf("%q", line)
	}
	r.signal(t)
	r.wait(t)
}

// TestAnInterruptedWriteIsUnknown: Ctrl-C does not undo a write.
func TestAnInterruptedWriteIsUnknown(t *testing.T) {
	f := newFakeDaemon(t)
	inside := make(chan struct{})
	f.hold = func(r *http.Request) {
		close(inside)
		<-r.Context().Done()
	}
	r := start([]string{"keys", "revoke", "k1"}, Deps{})
	<-inside
	r.signal(t)
	if code := r.wait(t); code != exitFailure || !strings.Contains(r.stderr.String(), "it is not known whether the write took effect") {
		t.Errorf("exit code %d, %s", code, r.stderr)
	}
}

func TestKeyStates(t *testing.T) {
	now := time.Now()
	for body, want := range map[string]string{
		`{"is_active":true}`:  "valid",
		`{"is_active":false}`: "off",
		`{"is_active":true,"expires_at":"2020-01-01T00:00:00Z"}`:  "expired",
		`{"is_active":true,"expires_at":"2999-01-01T00:00:00Z"}`:  "valid",
		`{"is_active":true,"defect":"user_id is of type double"}`: "unreadable",
	} {
		keys, err := decodeAll[api.Key]([]json.RawMessage{json.RawMessage(body)})
		if err != nil {
			t.Fatal(err)
		}
		if got := keyState(&keys[0], now); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestReadExpiry(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2027-01-02T03:04:05+01:00": "2027-01-02T02:04:05Z", "90d": "2026-04-01T00:00:00Z", "12h": "2026-01-01T12:00:00Z", "never": "",
	} {
		if at, err := readExpiry(text, now); err != nil || instantOrNone(at) != want {
			t.Errorf("%s: %v, %v", text, at, err)
		}
	}
	for _, text := range []string{"", "0s", "-1h", "soon", "2027-01-02", "d", "99999999999999999999d", "200000d", "300000d", "1.5d"} {
		if at, err := readExpiry(text, now); err == nil {
			t.Errorf("%q: %v", text, at)
		}
	}
}

// TestTLS: a server with a private CA that requires a client certificate.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	writeFile(t, dir+"/ca.pem", ca.pem)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	own := ca.write(t, dir+"/pair", "localhost", time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(own.CertFile, own.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeDaemon{responses: map[string]fakeResponse{}}
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Setenv(envToken, adminToken)
	t.Setenv("KEYTAIL_ADMIN_URL", strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	files := []string{"--ca-file=" + dir + "/ca.pem", "--client-cert-file=" + own.CertFile, "--client-key-file=" + own.KeyFile}
	for name, test := range map[string]struct {
		flags  []string
		code   int
		stderr string
	}{
		"all":            {files, exitOK, ""},
		"unknown":        {files[1:], exitFailure, "is not trusted: add the CA certificate that signed it"},
		"no certificate": {files[:1], exitFailure, "certificate required"},
		"plain":          {append(slices.Clone(files), "--admin-url=http://"+server.Listener.Addr().String()), exitFailure, "answers 400 Bad Request"},
	} {
		code, _, stderr := finish(t, Deps{}, append([]string{"instances"}, test.flags...)...)
		if code != test.code || !strings.Contains(stderr, test.stderr) {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
	}
	plain := newFakeDaemon(t)
	code, _, stderr := finish(t, Deps{}, "instances", "--admin-url=https://"+plain.Listener.Addr().String())
	if code != exitFailure || !strings.Contains(stderr, "does not speak TLS") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestCompletionScripts: each installed shell can read its script.
func TestCompletionScripts(t *testing.T) {
	for shell := range completions {
		code, stdout, stderr := finish(t, Deps{}, "completion", shell)
		if code != exitOK || stdout != completions[shell] || stderr != "" {
			t.Errorf("%s: exit code %d, %s%s", shell, code, stdout, stderr)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not here", shell)
			continue
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(stdout)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// TestCompletion: the completions that a shell receives.
func TestCompletion(t *testing.T) {
	for line, want := range map[string][]string{
		"keytail keys r":                {"revoke", "rotate"},
		"keytail keys list --output ":   {"json", "table"},
		"keytail keys revoke --wait=f":  {"fleet"},
		"keytail completion ":           {"bash", "fish", "zsh"},
		"keytail keys create --user":    {"--user-id"},
		"keytail key":                   {"keys"},
		"keytail keys list --nonsense=": nil,
	} {
		t.Setenv("COMP_LINE", line)
		t.Setenv("COMP_POINT", fmt.Sprint(len(line)))
		code, stdout, stderr := finish(t, Deps{}, "keytail", "", "")
		got := strings.Fields(stdout)
		slices.Sort(got)
		if code != exitOK || !slices.Equal(got, want) || stderr != "" {
			t.Errorf("%q: exit code %d, %q, %s", line, code, got, stderr)
		}
	}
}
