package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/connlimit"
	"github.com/keytail/keytail/internal/seed"
)

// TestListenFallsBackInDevOnly: with --dev, a default address that is in use is
// replaced by a free port.
func TestListenFallsBackInDevOnly(t *testing.T) {
	taken := listenAnywhere(t)
	for name, test := range map[string]struct {
		dev   bool
		given config.Given
		falls bool
	}{
		"dev":               {true, config.Given{}, true},
		"dev, asked for it": {true, config.Given{"addr": true}, false},
		"not dev":           {false, config.Given{}, false},
	} {
		d := &serveRun{process: process{given: test.given}, cfg: &config.Config{Dev: test.dev, Addr: taken, OpsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0"}}
		d.log, d.registry, d.connections = &logging{Logger: newTestLogger(t)}, prometheus.NewRegistry(), connlimit.Budget{Clients: 100, Side: 10}
		all, err := d.listen(t.Context(), newFake())
		if (err == nil) != test.falls {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			now := all[0].Addr().String()
			if want := []move{{"the public listener", taken, now}}; now == taken || !slices.Equal(d.moved, want) {
				t.Errorf("%s: it listens on %s and reports %v", name, now, d.moved)
			}
			all.close()
		}
	}
}

// TestWelcomeWithCallerTokens: verify requires one of them.
func TestWelcomeWithCallerTokens(t *testing.T) {
	w := greeting{public: "http://127.0.0.1:8080", callers: "caller tokens"}
	const header = ` -H "Authorization: Bearer $(sed -n 's/^[^#=][^=]*=\([^[:space:]]*\).*/\1/p' 'caller tokens' | head -n 1)" `
	if line := w.curl(seed.Example{Key: "kt_valid"}, ""); !strings.Contains(line, header) {
		t.Errorf("got %s, want%s", line, header)
	}
}

func TestWelcome(t *testing.T) {
	w := greeting{
		playground: true,
		mongoDB:    "mongodb://127.0.0.1:27127/?replicaSet=rs", public: "http://127.0.0.1:8080", operations: "http://127.0.0.1:9090",
		admin: "http://127.0.0.1:43211", moved: []move{{"the admin listener", "127.0.0.1:9091", "127.0.0.1:43211"}},
		program: "keytail", tokenFile: "/tmp/it's/admin-token",
		valid: seed.Example{Key: "kt_valid", ID: "63b28f00a5cdcafdda709172"}, expired: seed.Example{Key: "kt_expired"}, scoped: seed.Example{Key: "kt_scoped"},
	}
	lines := []string{
		`curl -s -w '\n' http://127.0.0.1:8080/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"kt_valid"}'`,
		`curl -s -w '\n' http://127.0.0.1:8080/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"kt_expired"}'`,
		`curl -s -w '\n' http://127.0.0.1:8080/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"kt_scoped","scopes":["orders:write"]}'`,
		`keytail keys create --user-id ada --scopes orders:read --wait fleet --admin-url http://127.0.0.1:43211 --token-file '/tmp/it'\''s/admin-token'`,
		`keytail keys revoke 63b28f00a5cdcafdda709172 --wait fleet --admin-url http://127.0.0.1:43211 --token-file '/tmp/it'\''s/admin-token'`,
		"127.0.0.1:9091 is in use: the admin listener is on 127.0.0.1:43211",
		"  admin       http://127.0.0.1:43211  (status page, admin API)",
		"http://127.0.0.1:43211/playground",
		"  MongoDB     mongodb://127.0.0.1:27127/?replicaSet=rs",
	}
	for _, token := range []string{"", "ABC"} {
		w.token = token
		password := token
		if token == "" {
			password = "the token in /tmp/it's/admin-token, which is the text between the first '=' and the space"
		}
		var out strings.Builder
		if err := w.print(&out); err != nil {
			t.Fatal(err)
		}
		for _, line := range append([]string{password}, lines...) {
			if !strings.Contains(out.String(), "\n"+line+"\n") {
				t.Errorf("the greeting lacks the line\n%s\n%s", line, out.String())
			}
		}
	}
}
