//go:build linux

package examples_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/seed"
)

// keysDatabase is the database with the keys of the tests.
const keysDatabase = "examples"

// clientAddr is the default address of clients. It differs from the address of the
// proxies, which keytail trusts.
const clientAddr = "127.0.0.2"

// daemon is a keytail process with its MongoDB.
type daemon struct {
	t       *testing.T
	mongo   *mongotest.Devmongo
	dir     string
	program string
	args    []string
	child   *child
}

// startKeytail starts the daemon with keytail.yaml. It returns the keys by name: those of
// testdata and those of ownKeys.
func startKeytail(t *testing.T, dir string, flags ...string) (*daemon, map[string]string) {
	t.Helper()
	config, err := filepath.Abs("keytail.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{
		t: t, dir: dir, program: build(t, "github.com/keytail/keytail/cmd/server"),
		mongo: mongotest.StartDevmongo(t, devmongo.Config{}),
	}
	keys := insertKeys(t, d.mongo)
	d.args = append([]string{
		"serve", "--config=" + config, "--mongodb-uri=" + d.mongo.URI, "--database=" + keysDatabase,
		"--ops-addr=" + keytailOps, "--cache-size=8", "--log-level=warn", "--drain-delay=0s",
		// Short, so that an outage has an effect soon; long enough for a busy machine.
		"--max-stale=2s",
	}, flags...)
	d.start()
	return d, keys
}

// ownKeys returns keys that testdata does not have. Missing fields have the values of a
// valid key.
func ownKeys() map[string]bson.D {
	return map[string]bson.D{
		// Is allowed from the client's address only.
		"local": {{Key: "allowed_ips", Value: []string{clientAddr}}},
		// Is bound to another project than that of /acme/.
		"elsewhere": {{Key: "org_id", Value: "org_acme"}, {Key: "project_id", Value: "project_live"}},
		// Its values must be encoded in a header.
		"odd": {{Key: "user_id", Value: `eve "é", x=1; %0d%0aX-Admin: yes`}, {Key: "scopes", Value: []string{"orders:read", `a,b"%0a`}}},
		// Its user id would split a header, so keytail does not accept the document.
		"splitting": {{Key: "user_id", Value: "eve\r\nX-Admin: yes"}},
	}
}

func insertKeys(t *testing.T, server *mongotest.Devmongo) map[string]string {
	t.Helper()
	client := server.Connect(t, options.Client().ApplyURI(server.URI))
	collection := mongotest.CreateAPIKeys(t, client.Database(keysDatabase))
	keys := map[string]string{}
	examples, err := seed.Examples()
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		keys[example.Name] = example.Key
	}
	documents, err := seed.Documents()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collection.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	for name, fields := range ownKeys() {
		keys[name] = newKey(t)
		document := bson.M{"key_hash": apikey.HashOf(keys[name]).Hex(), "is_active": true, "user_id": "user_" + name, "scopes": []string{"orders:read"}}
		for _, field := range fields {
			document[field.Key] = field.Value
		}
		if _, err := collection.InsertOne(t.Context(), document); err != nil {
			t.Fatal(err)
		}
	}
	keys["unknown"] = newKey(t)
	return keys
}

func newKey(t *testing.T) string {
	t.Helper()
	key, err := apikey.Generate(apikey.DefaultPrefix, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// start returns when the daemon is ready: its cache is complete, so it answers an unknown key
// exactly as long as it answers the others. Before that, a read that fails makes one key
// UNAVAILABLE while another one, which is cached already, is still answered.
func (d *daemon) start() {
	d.t.Helper()
	wantFree(d.t, keytailAddr, keytailOps)
	d.child = startChild(d.t, syscall.SIGKILL, d.dir, d.program, d.args...)
	d.child.await(d.t, func() bool {
		response, err := http.Get("http://" + keytailOps + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, "keytail does not become ready")
}

// awaitStatus sends an unknown key to the daemon until it responds with the status.
func (d *daemon) awaitStatus(status int, what string) {
	d.t.Helper()
	unknown := newKey(d.t)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.dial}, Timeout: waitTimeout}
	d.child.await(d.t, func() bool {
		ctx, cancel := context.WithTimeout(d.t.Context(), waitTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+keytailAddr+"/v1/auth", nil)
		if err != nil {
			d.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+unknown)
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == status
	}, what)
}

// dial connects to the public listener.
func (d *daemon) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	for _, flag := range d.args {
		if path, is := strings.CutPrefix(flag, "--addr=unix:"); is {
			network, addr = "unix", path
		}
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// kill ends the process, so that connections are refused.
func (d *daemon) kill() { d.child.kill() }

// pauseProcess stops the process, so that connections are accepted and get no response, until
// resume.
func (d *daemon) pauseProcess() {
	d.t.Helper()
	if err := d.child.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	d.child.await(d.t, d.stopped, "some threads of keytail still run")
}

// stopped checks all threads, because the signal reaches them one after the other.
func (d *daemon) stopped() bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.child.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(stat), ") T ") {
			return false
		}
	}
	return len(stats) > 0
}

func (d *daemon) resume() {
	d.t.Helper()
	if err := d.child.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		d.t.Fatal(err)
	}
	d.awaitStatus(http.StatusUnauthorized, "keytail does not resume")
}

// loseMongoDB makes MongoDB step down, and returns when keytail responds UNAVAILABLE.
func (d *daemon) loseMongoDB() {
	d.t.Helper()
	d.mongo.Node.StepDown(time.Hour)
	d.awaitStatus(http.StatusServiceUnavailable, "keytail does not become unavailable")
}

func (d *daemon) regainMongoDB() {
	d.t.Helper()
	d.mongo.Node.StepUp()
	d.awaitStatus(http.StatusUnauthorized, "keytail does not become available again")
}
