package daemon

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/decisionlog"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// onDevmongo is the configuration of a daemon whose keys are in an in-memory server.
func onDevmongo(t *testing.T) Config {
	t.Helper()
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	client, database := server.Client(t), server.Database(t)
	mongotest.CreateAPIKeys(t, client.Database(database))
	return Config{Config: service.Config{Client: client, Database: database, Schema: keystore.DefaultSchema(), CacheSizeMiB: 8}}
}

func get(handler http.Handler, path string) int {
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return response.Code
}

// TestNewNamesEverySettingThatIsWrong at once, those of the core, too, and without a
// database.
func TestNewNamesEverySettingThatIsWrong(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	_, err := New(t.Context(), Config{
		Config:              service.Config{Schema: keystore.DefaultSchema(), StreamScope: "cluster"},
		KeySources:          []string{"basic"},
		TrustedProxies:      []string{"everyone"},
		AuthHeaders:         []string{"X-Auth-Token"},
		TraceCallerNetworks: []string{"nobody"},
		Policies:            map[string]forwardauth.Policy{"orders": {Scopes: []string{"two words"}}},
		CallerTokenFile:     absent,
		AdminTokenFile:      absent,
		DecisionLog:         decisionlog.Config{AcceptRatio: 2, Mask: []string{"code"}},
	})
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, want := range []string{
		`key source "basic"`, `trusted proxy "everyone"`, `identity header "X-Auth-Token"`, `whose traces are followed "nobody"`, `orders`, "--caller-token-file: ", "--admin-token-file: ",
		"MongoDB client", "--stream-scope", "--decision-log-accepts", "--decision-log-mask",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not contain %q:\n%v", want, err)
		}
	}
}

func TestAdminHandlerNeedsATokenFile(t *testing.T) {
	config := onDevmongo(t)
	without, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if admin := without.Admin(); admin != nil {
		t.Errorf("an admin handler without tokens: %v", admin)
	}
	config.AdminTokenFile = filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(config.AdminTokenFile, []byte("ops="+strings.Repeat("t", 40)+" role=admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if code := get(with.Admin(), api.PathKeys); code != http.StatusUnauthorized {
		t.Errorf("a request without a token gets %d, want 401", code)
	}
}

// TestDrainChangesReadinessOnly: load balancers send no more requests, and those that
// come anyway are answered.
func TestDrainChangesReadinessOnly(t *testing.T) {
	d, err := New(t.Context(), onDevmongo(t))
	if err != nil {
		t.Fatal(err)
	}
	if code := get(d.Operations(), api.PathReady); code != http.StatusServiceUnavailable {
		t.Errorf("before Run: %s is %d, want 503", api.PathReady, code)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	select {
	case <-d.Live():
	case err := <-ended:
		t.Fatalf("Run returned before it was live: %v", err)
	}
	for _, c := range []struct {
		when  string
		ready int
	}{{"live", http.StatusOK}, {"draining", http.StatusServiceUnavailable}} {
		if code := get(d.Operations(), api.PathReady); code != c.ready {
			t.Errorf("%s: %s is %d, want %d", c.when, api.PathReady, code, c.ready)
		}
		if code := get(d.Public(), api.PathAuth); code != http.StatusUnauthorized {
			t.Errorf("%s: a request without a key gets %d, want 401", c.when, code)
		}
		d.Drain() // twice in the end, which is allowed
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := d.Run(t.Context()); err == nil {
		t.Error("a second Run has no error")
	}
}

// TestTheDecisionLog has the last answer when Run has returned, and is opened again.
func TestTheDecisionLog(t *testing.T) {
	config := onDevmongo(t)
	without, err := New(t.Context(), config)
	if err != nil || without.ReopenLogs() {
		t.Fatalf("%v, or there is a log to open", err)
	}
	config.Registry, config.InstanceName = prometheus.NewRegistry(), "host"
	config.DecisionLog = decisionlog.Config{Path: filepath.Join(t.TempDir(), "decisions.log")}
	d, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	<-d.Live()
	if code := get(d.Public(), api.PathAuth); code != http.StatusUnauthorized {
		t.Errorf("without a key: %d", code)
	}
	if !d.ReopenLogs() {
		t.Error("there is no log to open")
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(config.DecisionLog.Path)
	text := string(content)
	if err != nil || strings.Count(text, "\n") != 1 || !strings.Contains(text, `"operation":"forward_auth"`) || !strings.Contains(text, `"code":"MISSING"`) || !strings.Contains(text, `"instance":"host/`) {
		t.Errorf("%v in\n%s", err, text)
	}
}
