package cli

import (
	"strings"
	"testing"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

// TestExplainExitCodes: 0 means valid, as for verify.
func TestExplainExitCodes(t *testing.T) {
	const database = `"database":{"valid":true,"code":"VALID","as_of":"2026-01-02T03:04:05Z"}}`
	for body, want := range map[string]struct {
		status, code   int
		stdout, stderr string
	}{
		`{"key_id":"k1","instance":"i1","valid":true,"code":"VALID","source":"cache",` + database: {200, exitOK, "VALID\n", ""},
		`{"key_id":"k1","instance":"i1","valid":false,"code":"UNAVAILABLE",` + database:           {200, exitFailure, "UNAVAILABLE\n", ""},
		`{"key_id":"k1","instance":"i1","valid":true,"code":"EXPIRED",` + database:                {200, exitFailure, "", "the verdict is inconsistent"},
		`{"detail":"this key does not exist","code":"NO_SUCH_KEY"}`:                               {404, exitFailure, "", "this key does not exist; keytail audit --key-id k1 says"},
		`{"detail":"nothing was written","code":"DATABASE_UNAVAILABLE"}`:                          {503, exitFailure, "", "callers get answers from the cache"},
	} {
		f := newFakeDaemon(t)
		f.responses["/v1/keys/k1/explain"] = fakeResponse{want.status, body}
		code, stdout, stderr := finish(t, Deps{}, "explain", "k1", "-q")
		if code != want.code || stdout != want.stdout || !strings.Contains(stderr, want.stderr) || want.stderr == "" && stderr != "" {
			t.Errorf("%s: got exit code %d, %q, %q", body, code, stdout, stderr)
		}
	}
}

// TestExplainRefusesAKey: it would end up in the server's log.
func TestExplainRefusesAKey(t *testing.T) {
	f := newFakeDaemon(t)
	secret, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := finish(t, Deps{}, "explain", secret)
	if code != exitUsage || stdout != "" || !strings.Contains(stderr, "this is a key and not an id") || strings.Contains(stderr, secret) || len(f.seenRequests()) != 0 {
		t.Errorf("got exit code %d, %q, %q, %d requests", code, stdout, stderr, len(f.seenRequests()))
	}
}

// TestExplainRefusesAnEmptyID: without it, another request would be explained.
func TestExplainRefusesAnEmptyID(t *testing.T) {
	f := newFakeDaemon(t)
	for _, flag := range []string{"--org-id=", "--project-id="} {
		code, _, stderr := finish(t, Deps{}, "explain", "k1", flag)
		if code != exitUsage || !strings.Contains(stderr, "the id is empty") || len(f.seenRequests()) != 0 {
			t.Errorf("%s: got exit code %d, %q", flag, code, stderr)
		}
	}
}

// TestEachReasonHasASentence that says what is wrong, and what to give.
func TestEachReasonHasASentence(t *testing.T) {
	named := explainCommand{requirementFlags: requirementFlags{OrgID: new("o1"), ProjectID: new("p1"), IP: "192.0.2.1"}}
	for _, test := range []struct {
		command explainCommand
		e       api.Explanation
		want    string
	}{
		{named, api.Explanation{Valid: true, Code: "VALID"}, "the key is valid for this request"},
		{named, api.Explanation{Code: "UNAVAILABLE"}, "it has no data that are fresh enough"},
		{named, api.Explanation{Code: "NOT_FOUND"}, "refused for this request: NOT_FOUND"},
		{named, api.Explanation{Code: "NOT_FOUND", Reason: "missing:key_hash"}, "its document has no field key_hash"},
		{named, api.Explanation{Code: "DISABLED", Reason: "inactive"}, "it is switched off"},
		{named, api.Explanation{Code: "DISABLED", Reason: "shared_hash"}, "another document has the same hash"},
		{named, api.Explanation{Code: "DISABLED", Reason: "unreadable"}, "its document cannot be read"},
		{named, api.Explanation{Code: "DISABLED", Reason: "type:expires_at"}, "the field expires_at of its document does not have the form"},
		{named, api.Explanation{Code: "DISABLED", Reason: "duplicate:user_id"}, "has the field user_id twice"},
		{named, api.Explanation{Code: "EXPIRED", Reason: "expired"}, "it has expired"},
		{named, api.Explanation{Code: "FORBIDDEN", Reason: "org"}, "it is bound to another organisation"},
		{named, api.Explanation{Code: "FORBIDDEN", Reason: "project"}, "it is bound to another project"},
		{named, api.Explanation{Code: "FORBIDDEN", Reason: "ip"}, "the client's address 192.0.2.1 is not in its allow-list"},
		{explainCommand{}, api.Explanation{Code: "FORBIDDEN", Reason: "org"}, "the request must name it (--org-id)"},
		{explainCommand{}, api.Explanation{Code: "FORBIDDEN", Reason: "project"}, "the request must name it (--project-id)"},
		{explainCommand{}, api.Explanation{Code: "FORBIDDEN", Reason: "ip"}, "the request has no client address (--ip)"},
		{named, api.Explanation{Code: "INSUFFICIENT_PERMISSIONS", Reason: "scope:orders:read"}, "it does not have the scope orders:read"},
		{named, api.Explanation{Code: "PAUSED", Reason: "newer:than this"}, "refused for this request: newer:than this"},
	} {
		if got := test.command.sentence(&test.e); !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.e, got, test.want)
		}
	}
}

// TestADifferenceIsNamed, and not knowing is not a difference.
func TestADifferenceIsNamed(t *testing.T) {
	age := int64(7)
	valid := api.Explanation{Valid: true, Code: "VALID", StalenessMS: &age}
	for want, database := range map[string]api.StoredVerdict{
		"": {Valid: true, Code: "VALID"},
		"the database says DISABLED (inactive): a change has not reached this instance yet, whose data are 7 ms old": {Code: "DISABLED", Reason: "inactive"},
		"what the database has now is not known: it has no primary with a majority, or does not answer in time":      {Code: "UNAVAILABLE"},
	} {
		valid.Database = database
		if got := difference(&valid); got != want {
			t.Errorf("%+v: %q, want %q", database, got, want)
		}
	}
}
