package cli

import (
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/config"
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
		d := &serveRun{process: process{given: test.given}, cfg: &config.Config{Dev: test.dev, Addr: taken, OpsAddr: "127.0.0.1:0"}}
		d.log = newTestLogger(t)
		all, err := d.listen(t.Context(), newFake())
		if (err == nil) != test.falls {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if all[0].Addr().String() == taken {
				t.Errorf("%s: it listens on the address in use", name)
			}
			all.close()
		}
	}
}

func TestWelcome(t *testing.T) {
	var out strings.Builder
	w := greeting{
		mongoDB: "mongodb://127.0.0.1:27127/?replicaSet=rs", public: "http://127.0.0.1:8080", operations: "http://127.0.0.1:9090",
		admin:    "  admin       http://127.0.0.1:9091\n",
		database: "keytail", collection: `it's "odd"`,
		valid: seed.Example{Key: "kt_valid", ID: "63b28f00a5cdcafdda709172"}, expired: seed.Example{Key: "kt_expired"}, scoped: seed.Example{Key: "kt_scoped"},
	}
	if err := w.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`curl -s -w '\n' http://127.0.0.1:8080/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"kt_valid"}'`,
		`curl -s -w '\n' http://127.0.0.1:8080/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"kt_expired"}'`,
		`curl -s -w '\n' http://127.0.0.1:8080/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"kt_scoped","scopes":["orders:write"]}'`,
		`mongosh 'mongodb://127.0.0.1:27127/?replicaSet=rs' --quiet --eval 'db.getSiblingDB("keytail").getCollection("it\x27s \"odd\"").updateOne({_id: ObjectId("63b28f00a5cdcafdda709172")}, {$set: {is_active: false}})'`,
		"  admin       http://127.0.0.1:9091",
		"  MongoDB     mongodb://127.0.0.1:27127/?replicaSet=rs",
	} {
		if !strings.Contains(out.String(), "\n"+line+"\n") {
			t.Errorf("the greeting lacks the line\n%s\n%s", line, out.String())
		}
	}
}
