package cli

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// TestAWaitThatTimesOutIsNotAFailure, so that no user rotates a key twice.
func TestAWaitThatTimesOutIsNotAFailure(t *testing.T) {
	const instances = `"synced":false,"instances":[{"id":"i1","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"},{"id":"i2","revision":null,"last_seen":"2026-01-02T03:04:05Z"}],"missing":["i2"]`
	f := newFakeDaemon(t)
	f.responses["/v1/keys/k1/revoke"] = fakeResponse{http.StatusOK, `{` + key1 + `,"revision":"000000000000000a",` + instances + `}`}
	code, _, stderr := finish(t, Deps{}, "keys", "revoke", "k1", "--wait=fleet")
	if code != exitOK || !strings.Contains(stderr, "keytail: revoked; 1 of 2 instances applied the change within ") ||
		!strings.Contains(stderr, ", not yet i2. Do not repeat the write. To wait again: keytail sync 000000000000000a\n") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
	f.responses["/v1/keys/k1/revoke"] = fakeResponse{http.StatusOK, `{` + key1 + `,"revision":"000000000000000a","synced":false,"instances":[],"missing":[]}`}
	code, _, stderr = finish(t, Deps{}, "keys", "revoke", "k1", "--wait=fleet")
	if code != exitOK || !strings.Contains(stderr, "revoked; no instance confirmed the change") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
	// The command sync fails.
	f.responses["/v1/sync"] = fakeResponse{http.StatusOK, `{` + instances + `}`}
	code, stdout, stderr := finish(t, Deps{}, "sync", "000000000000000a")
	if code != exitFailure || !strings.Contains(stdout, "i2  no      -") || !strings.Contains(stderr, "1 of 2 instances have the revision in ") {
		t.Errorf("got exit code %d, %s%s", code, stdout, stderr)
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
		"empty names":          {[]string{"verify", "--org-id=", "--project-id", ""}, []string{"--org-id: the id is empty", "--project-id: the id is empty"}},
		"a key in argv":        {[]string{"verify", secret}, []string{"a key on the command line is visible"}},
		"a key as a flag":      {[]string{"verify", "--key", secret}, []string{"unknown flag --key"}},
		"a token as a flag":    {[]string{"keys", "list", "--token", adminToken}, []string{"unknown flag --token"}},
		"which keys command":   {[]string{"keys"}, []string{`expected one of "create"`}},
		"a shell of no renown": {[]string{"completion", "ksh"}, []string{"must be one of"}},
	} {
		code, stdout, stderr := finish(t, depsWithStdin("kt_asked"), test.args...)
		if code != exitUsage || stdout != "" {
			t.Errorf("%s: got exit code %d, %s", name, code, stdout)
		}
		for _, text := range test.stderr {
			if !strings.Contains(stderr, text) {
				t.Errorf("%s: stderr lacks %q:\n%s", name, text, stderr)
			}
		}
		if strings.Contains(stderr, secret) || strings.Contains(stderr, adminToken) {
			t.Errorf("%s prints a secret:\n%s", name, stderr)
		}
	}
	for _, text := range []string{"kt_one\nkt_two", strings.Repeat("x", maxKeyText+1)} {
		if code, _, stderr := finish(t, depsWithStdin(text), "verify"); code != exitUsage || !strings.Contains(stderr, "must be one line with a key") || strings.Contains(stderr, "kt_") {
			t.Errorf("got exit code %d, %s", code, stderr)
		}
	}
	t.Setenv(envCallerToken, callerToken)
	if code, _, stderr := finish(t, depsWithStdin("kt_asked"), "verify", "--url=http://10.0.0.1:8080"); code != exitUsage || !strings.Contains(stderr, "cross the network unencrypted") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
	if asked := f.seenRequests(); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
}

// TestInvalidResponses: an invalid response, or none, gives exit code 1 and a message.
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
				t.Errorf("%q: got exit code %d, %s%s", args, code, stdout, stderr)
			}
			lost := strings.Contains(stderr, "it is not known whether the write took effect")
			write := args[0] == "keys" && args[1] != "list" && args[1] != "get"
			if lost != (write && url == server.URL) {
				t.Errorf("%q: %s", args, stderr)
			}
		}
	}
}

// TestTablesCannotControlATerminal: control characters of a document are not printed.
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
		t.Errorf("got exit code %d, %s", code, stderr)
	}
}

// fullDisk is a writer on a full disk.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestAKeyThatCannotBePrintedIsReportedAsLost(t *testing.T) {
	newFakeDaemon(t)
	stderr := newBuffer()
	code := execute(t.Context(), []string{"keys", "create", "--user-id=u1"}, fullDisk{}, stderr, Deps{})
	if code != exitFailure || !strings.Contains(stderr.String(), "the new key is lost: revoke k1") || strings.Contains(stderr.String(), newSecret) {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
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
		t.Errorf("got exit code %d, %s", code, r.stderr)
	}
}
