package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// TestRevokeNeedsOneForm: a variable of a script that is empty never selects more
// keys, and nothing is sent.
func TestRevokeNeedsOneForm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(file, []byte(" \n"), 0o644); err != nil {
		t.Fatal(err)
	}
	key, err := apikey.Generate("kt", nil)
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeDaemon(t)
	for _, test := range []struct {
		args  []string
		words string
	}{
		{[]string{key}, "this is a key and not an id. Other users may have seen it on the command line: revoke it with --key-file -"},
		{nil, "which key?"},
		{[]string{""}, "the id of the key is empty"},
		{[]string{"", "--user-id=u1"}, "the id of the key is empty"},
		{[]string{"--user-id=u1"}, "--yes is missing: it confirms that all keys of user u1 are to be revoked"},
		{[]string{"--user-id=", "--org-id=o1", "--yes"}, "--user-id is empty"},
		{[]string{"--org-id=", "--user-id=u1", "--yes"}, "--org-id is empty"},
		{[]string{"--key-file=", "--user-id=u1", "--yes"}, "--key-file is empty"},
		{[]string{"--key-file=" + file}, "there is no key in the input"},
		{[]string{"--key-file=" + file + ".gone"}, "no such file"},
		{[]string{"--key-file=-", "--user-id=u1"}, "--key-file takes neither"},
		{[]string{"--key-file=-", "k1"}, "a key by its id takes neither"},
		{[]string{"--key-file=-", "--dry-run"}, "--key-file takes neither"},
		{[]string{"k1", "--org-id=o1"}, "a key by its id takes neither"},
		{[]string{"k1", "--dry-run"}, "a key by its id takes neither"},
		{[]string{"k1", "--yes"}, "a key by its id takes neither"},
		{[]string{"--timeout=2m", "--org-id=o1", "--yes"}, "at most 1m"},
	} {
		code, stdout, stderr := finish(t, depsWithStdin("kt_two\nlines"), append([]string{"keys", "revoke"}, test.args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, test.words) || strings.Contains(stderr, key) {
			t.Errorf("%q: got exit code %d, %s%s", test.args, code, stdout, stderr)
		}
	}
	code, _, stderr := finish(t, depsWithStdin("kt_secret_one\nkt_secret_two"), "keys", "revoke", "--key-file=-")
	if code != exitUsage || strings.Contains(stderr, "secret") || !strings.Contains(stderr, "one line with a key") {
		t.Errorf("two lines: got exit code %d, %s", code, stderr)
	}
	if asked := f.seenRequests(); len(asked) != 0 {
		t.Errorf("requests: got %q", asked)
	}
}

// TestAKeyInTheWrongPlaceIsNotShown: a job's log keeps what a command prints.
func TestAKeyInTheWrongPlaceIsNotShown(t *testing.T) {
	f := newFakeDaemon(t)
	key, err := apikey.Generate("kt", nil)
	if err != nil {
		t.Fatal(err)
	}
	mistyped := key[:len(key)-2] + "00"
	for _, test := range []struct {
		args  []string
		words string
	}{
		{[]string{"keys", "revoke", "--key-file", key}, "this is a key and not a file"},
		{[]string{"keys", "revoke", "--key-file=" + mistyped}, "may be a key"},
		{[]string{"keys", "revoke", "--key-file=sk-" + key[3:len(key)-2]}, "may be a key"},
		{[]string{"keys", "revoke", "--" + key}, "unknown flag"},
		{[]string{"keys", "revoke", "k1", key}, "unexpected argument"},
		{[]string{"explain", "k1", key}, "unexpected argument"},
		{[]string{"verify", "--key-file=" + key}, "this is a key and not a file"},
		{[]string{key}, "unexpected argument"},
	} {
		code, stdout, stderr := finish(t, depsWithStdin(""), test.args...)
		if code != exitUsage || !strings.Contains(stderr, test.words) || strings.Contains(stdout+stderr, key[3:len(key)-2]) {
			t.Errorf("%q: got exit code %d, %s%s", test.args[:1], code, stdout, stderr)
		}
	}
	if asked := f.seenRequests(); len(asked) != 0 {
		t.Errorf("requests: got %q", asked)
	}
}

// TestRevokeReportsWhatIsNotDone: the exit code is 0 only if every key is revoked, on
// every instance.
func TestRevokeReportsWhatIsNotDone(t *testing.T) {
	notSynced := `,"revision":"000000000000000a","synced":false,"instances":[{"id":"i1","revision":null,"last_seen":"2026-01-02T03:04:05Z"},{"id":"i2","revision":null,"last_seen":"2026-01-02T03:04:05Z"}],"missing":["i2"]}`
	nobody := `,"revision":"000000000000000a","synced":false,"instances":[],"missing":[]}`
	leaked, owner := []string{"--key-file=-"}, []string{"--user-id=u1", "--yes"}
	for name, test := range map[string]struct {
		args   []string
		path   string
		answer fakeResponse
		failed string
		code   int
		stderr string
	}{
		"leaked, not everywhere":  {leaked, "/v1/keys/revoke-leaked", fakeResponse{200, `{"keys":[{` + key1 + `}],"revoked":1` + notSynced}, "", exitFailure, "revoked k1; refused on 1 of 2 instances within "},
		"leaked, what it means":   {leaked, "/v1/keys/revoke-leaked", fakeResponse{200, `{"keys":[{` + key1 + `}],"revoked":1` + notSynced}, "", exitFailure, "until its data are --max-stale old"},
		"leaked, nowhere":         {leaked, "/v1/keys/revoke-leaked", fakeResponse{200, `{"keys":[{` + key1 + `}],"revoked":1` + nobody}, "", exitFailure, "no instance confirmed it within "},
		"leaked, and off":         {leaked, "/v1/keys/revoke-leaked", fakeResponse{200, `{"keys":[{` + key1 + `}],"revoked":0,"revision":"000000000000000a","synced":true,"instances":[{"id":"i1","revision":null,"last_seen":"2026-01-02T03:04:05Z"}],"missing":[]}`}, "", exitOK, "k1 was revoked already; refused on 1 of 1 instances in "},
		"leaked, unknown":         {leaked, "/v1/keys/revoke-leaked", fakeResponse{404, `{"detail":"this key does not exist","code":"NO_SUCH_KEY"}`}, "", exitFailure, "no key of this collection has this text\n"},
		"leaked, a proxy fails":   {leaked, "/v1/keys/revoke-leaked", fakeResponse{502, `bad gateway`}, "", exitFailure, "502"},
		"leaked, no key":          {leaked, "/v1/keys/revoke-leaked", fakeResponse{200, `{}`}, "", exitFailure, "is the server keytail?"},
		"owner, not everywhere":   {owner, "/v1/sync", fakeResponse{200, `{"x":1` + notSynced}, "", exitFailure, "revoked 3 keys of user u1; refused on 1 of 2 instances within "},
		"owner, sync fails":       {owner, "/v1/sync", fakeResponse{503, `{"detail":"too many requests are waiting","code":"TOO_MANY_WAITING"}`}, "", exitFailure, "too many requests are waiting"},
		"owner, one is refused":   {owner, "", fakeResponse{}, `{"key_id":"k9","detail":"the validator rejects it"}`, exitFailure, "the key k9 is still active: the validator rejects it"},
		"owner, no key of theirs": {owner, "/v1/keys/revoke", fakeResponse{200, `{"key_ids":[],"failed":[],"dry_run":false,"next_cursor":null,"revision":"000000000000000a"}`}, "", exitOK, "user u1 has no active key: check the id if you expected one"},
		"owner, the same page":    {owner, "/v1/keys/revoke", fakeResponse{200, `{"key_ids":["k1"],"failed":[],"dry_run":false,"next_cursor":"c1","revision":null}`}, "", exitFailure, "at least 2 keys of user u1 revoked, not all: the next page of the list is the same page"},
		"owner, never the last":   {owner, "/v1/keys/revoke", fakeResponse{200, `{"key_ids":["k1"],"failed":[],"dry_run":false,"next_cursor":null,"revision":null}`}, "", exitFailure, "10 keys of user u1 revoked, not all: keys are created as fast"},
		"owner, away":             {owner, "/v1/keys/revoke", fakeResponse{503, `{"detail":"the database did not answer","code":"DATABASE_UNAVAILABLE"}`}, "", exitFailure, "keytail: the database did not answer\n"},
		"owner, a dry run of it":  {[]string{"--user-id=u1", "--dry-run"}, "/v1/keys/revoke", fakeResponse{200, `{"key_ids":["k1"],"failed":[],"dry_run":false,"next_cursor":null,"revision":null}`}, "", exitFailure, "did not do what was asked"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeDaemon(t)
			f.failed = test.failed
			if test.path != "" {
				f.responses[test.path] = test.answer
			}
			code, _, stderr := finish(t, depsWithStdin("kt_asked\n"), append([]string{"keys", "revoke"}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.stderr) || strings.Contains(stderr, "kt_asked") || strings.Contains(stderr, "not known whether") {
				t.Errorf("got exit code %d, %s", code, stderr)
			}
		})
	}
}

// TestRevokeStopsInTheMiddle: the error says how many keys are revoked, and the same
// command revokes the others.
func TestRevokeStopsInTheMiddle(t *testing.T) {
	f := newFakeDaemon(t)
	n := 0
	f.hold = func(r *http.Request) {
		if n++; r.URL.Path == "/v1/keys/revoke" && n == 2 {
			panic(http.ErrAbortHandler)
		}
	}
	code, _, stderr := finish(t, depsWithStdin(""), "keys", "revoke", "--user-id=u1", "--yes")
	if code != exitFailure || !strings.Contains(stderr, "2 keys of user u1 revoked, not all: ") || !strings.Contains(stderr, "The same command continues, also with the --admin-url of another instance") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
	code, stdout, stderr := finish(t, depsWithStdin(""), "keys", "revoke", "--user-id=u1", "--yes", "-o", "json")
	if code != exitOK || !strings.Contains(stderr, "refused on 1 of 1 instances") || !strings.Contains(stdout, `"synced": true`) {
		t.Errorf("again: got exit code %d, %s%s", code, stdout, stderr)
	}
}

// TestRevokeLeakedWithoutAResponse: the error says that the key may be valid, and
// what to do.
func TestRevokeLeakedWithoutAResponse(t *testing.T) {
	f := newFakeDaemon(t)
	f.hold = func(*http.Request) { panic(http.ErrAbortHandler) }
	code, _, stderr := finish(t, depsWithStdin("kt_asked\n"), "keys", "revoke", "--key-file=-")
	if code != exitFailure || !strings.Contains(stderr, "the key may still be valid: ") || !strings.Contains(stderr, "--admin-url of another instance") || strings.Contains(stderr, "kt_asked") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
}

func TestAProgressBarEndsFull(t *testing.T) {
	var b strings.Builder
	bar := progressBar{out: &b, total: 3}
	for done := range 5 { // one key more than were counted
		bar.show(done)
	}
	bar.end()
	for _, want := range []string{"\r[" + strings.Repeat(".", barWidth) + "] 0 of 3 keys", fmt.Sprintf("\r[%s] 4 of 4 keys\n", strings.Repeat("#", barWidth))} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q lacks %q", b.String(), want)
		}
	}
	var none progressBar
	none.show(1)
	none.end()
}
