package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/cli"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keyadmin"
	"github.com/keytail/keytail/internal/mongotest"
)

// leakFixture is a fleet of three with the command line, and everything that the three
// have logged.
type leakFixture struct {
	*adminFixture
	all   []testkit.Daemon
	flags []string
	logs  *observer.ObservedLogs
}

func startLeakDrill(t *testing.T, s *mongotest.Server) *leakFixture {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	r := startFleet(t, s, withShortMaxStale, withAdmin(t), func(c *daemon.Config) { c.Logger = zap.New(core) })
	server := httptest.NewServer(r.Admin())
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("ann=admin-token-of-ann role=admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &leakFixture{
		adminFixture: &adminFixture{r.fixture, r.db.Collection(keyadmin.CollectionName)},
		all:          r.all, flags: []string{"--admin-url=" + server.URL, "--token-file=" + token, "--timeout=20s"}, logs: logs,
	}
}

// command runs keytail keys revoke.
func (o *leakFixture) command(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, messages bytes.Buffer
	code = cli.Main(append(append([]string{"keys", "revoke"}, o.flags...), args...), &out, &messages, cli.Deps{Stdin: strings.NewReader(stdin)})
	return code, out.String(), messages.String()
}

// mustDecide checks the verdict of each instance, without waiting.
func (o *leakFixture) mustDecide(text string, want apikey.Code, request apikey.Request) {
	o.t.Helper()
	for i, instance := range o.all {
		if v := instance.Validate(o.t.Context(), text, &request); v.Code != want {
			o.t.Errorf("instance %d: got %v, want %v", i, v.Code, want)
		}
	}
}

// mustNotContain fails if a text has any eight characters of a secret in a row.
func mustNotContain(t *testing.T, what, text, secret string) {
	t.Helper()
	for i := 0; i+8 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+8]) {
			t.Fatalf("%s contains a part of the key: %s", what, text)
		}
	}
}

// TestLeakDrill: from the text of a leaked key to "refused on 3 of 3 instances" by one
// command. No log, metric, message or stored document has any part of it.
func TestLeakDrill(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := startLeakDrill(t, s)
		made := o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"u","scopes":["read"]}`)
		text, id := made.str("key"), made.str("id")
		o.mustDecide(text, apikey.Valid, apikey.Request{MinRevision: made.revision(t)})

		began := time.Now()
		code, stdout, stderr := o.command(" "+text+"\n", "--key-file=-")
		if code != 0 || !strings.Contains(stderr, "revoked "+id+"; refused on 3 of 3 instances in ") || !strings.Contains(stdout, id) {
			t.Fatalf("got exit code %d, %s%s", code, stdout, stderr)
		}
		t.Logf("from the key's text to every instance in %v: %s", time.Since(began).Round(time.Millisecond), stderr)
		o.mustDecide(text, apikey.Disabled, apikey.Request{})

		code, again, stderr := o.command(text, "--key-file=-")
		if code != 0 || !strings.Contains(stderr, id+" was revoked already; refused on 3 of 3 instances") {
			t.Errorf("again: got exit code %d, %s", code, stderr)
		}
		o.mustAudit("/v1/audit?key_id="+id, "revoke", "create")
		logged := o.logged(zap.DebugLevel)
		o.logs.TakeAll()
		unknown := "ghp_" + strings.Repeat("Zx9", 12)
		code, none, refused := o.command(unknown, "--key-file=-")
		if code != 1 || none != "" || !strings.Contains(refused, "no key of this collection has this text") {
			t.Errorf("a key of another maker: got exit code %d, %s%s", code, none, refused)
		}
		if got := o.logged(zap.InfoLevel); got != "" {
			t.Errorf("about an unknown key: %s", got)
		}
		logged += o.logged(zap.DebugLevel)
		if strings.Count(logged, "/v1/keys/revoke-leaked") != 3 {
			t.Error("the access log lacks the requests")
		}
		secret := text[strings.LastIndexByte(text, '_')+1:]
		for what, all := range map[string]string{"the log": logged, "the metrics": o.exposition(), "the audit": o.auditText()} {
			mustNotContain(t, what, all, secret)
			mustNotContain(t, what, all, unknown)
		}
		// The table shows the beginning of the key, as the collection stores it.
		mustNotContain(t, "the output", stdout+again+stderr+refused, secret[1:])
		o.mustStoreNoSecret(text)
	})
}

// logged is what was logged from this level on.
func (o *leakFixture) logged(level zapcore.Level) string {
	var all strings.Builder
	for _, e := range o.logs.All() {
		if e.Level >= level {
			fmt.Fprintln(&all, e.Level, e.Message, e.ContextMap(), e.Stack)
		}
	}
	return all.String()
}

// exposition is everything in the metrics.
func (o *leakFixture) exposition() string {
	o.t.Helper()
	families, err := o.registry.Gather()
	if err != nil || len(families) == 0 {
		o.t.Fatalf("%d families, %v", len(families), err)
	}
	return fmt.Sprint(families)
}

func (o *leakFixture) auditText() string {
	o.t.Helper()
	cursor, err := o.audit.Find(o.t.Context(), bson.D{})
	if err != nil {
		o.t.Fatal(err)
	}
	var all []bson.Raw
	if err := cursor.All(o.t.Context(), &all); err != nil {
		o.t.Fatal(err)
	}
	return fmt.Sprint(all)
}

// TestAllKeysOfAnOwnerAreRefusedByTheFleet after one command with one acknowledgement.
func TestAllKeysOfAnOwnerAreRefusedByTheFleet(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := startLeakDrill(t, s)
		var texts []string
		var last reply
		for i := range 12 {
			last = o.mustCall(http.StatusCreated, "POST", "/v1/keys", fmt.Sprintf(`{"user_id":"user-%d","org_id":"acme"}`, i%2))
			texts = append(texts, last.str("key"))
		}
		other := o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"user-0","org_id":"other"}`)
		code, stdout, stderr := o.command("", "--org-id=acme", "--dry-run")
		if code != 0 || strings.Count(stdout, "\n") != 12 || !strings.Contains(stderr, "12 keys of organisation acme would be revoked") {
			t.Errorf("dry run: got exit code %d, %s%s", code, stdout, stderr)
		}
		for _, text := range texts {
			o.mustDecide(text, apikey.Valid, apikey.Request{OrgID: "acme", MinRevision: last.revision(t)})
		}
		code, _, stderr = o.command("", "--org-id=acme", "--yes")
		if code != 0 || !strings.Contains(stderr, "revoked 12 keys of organisation acme; refused on 3 of 3 instances in ") {
			t.Fatalf("got exit code %d, %s", code, stderr)
		}
		t.Log(stderr)
		for _, text := range texts {
			o.mustDecide(text, apikey.Disabled, apikey.Request{OrgID: "acme"})
		}
		o.mustDecide(other.str("key"), apikey.Valid, apikey.Request{OrgID: "other"})
		// A repeated command waits for the fleet, too.
		code, stdout, stderr = o.command("", "--org-id=acme", "--yes")
		if code != 0 || !strings.Contains(stderr, "revoked 0 keys of organisation acme; refused on 3 of 3 instances in ") {
			t.Errorf("again: got exit code %d, %s%s", code, stdout, stderr)
		}
	})
}
