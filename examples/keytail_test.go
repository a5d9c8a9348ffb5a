//go:build linux

package examples_test

import (
	"context"
	"crypto/rand"
	"fmt"
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

// keysDatabase holds the keys of the tests.
const keysDatabase = "examples"

// clientAddr is where clients come from, unless they say otherwise: not the
// address of the proxies, which keytail trusts.
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

// startKeytail runs the daemon with keytail.yaml, and returns the keys that it
// knows by name: those of testdata and the ones of ownKeys.
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
		"--ops-addr=127.0.0.1:0", "--cache-size=8", "--log-level=warn", "--drain-delay=0s",
		// Short, so that an outage is seen soon; long enough for a busy machine.
		"--max-stale=2s",
	}, flags...)
	d.start()
	return d, keys
}

// ownKeys are what testdata lacks. Missing fields are those of a good key.
func ownKeys() map[string]bson.D {
	return map[string]bson.D{
		// May come from the client's address alone.
		"local": {{Key: "allowed_ips", Value: []string{clientAddr}}},
		// Is bound, and to another project than the one of /acme/.
		"elsewhere": {{Key: "org_id", Value: "org_acme"}, {Key: "project_id", Value: "project_live"}},
		// Its texts have to be encoded to stand in a header.
		"odd": {{Key: "user_id", Value: `eve "é", x=1; %0d%0aX-Admin: yes`}, {Key: "scopes", Value: []string{"orders:read", `a,b"%0a`}}},
		// Its user would split a header: no such key is a key.
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

// start returns when the daemon answers for keys.
func (d *daemon) start() {
	d.t.Helper()
	wantFree(d.t, keytailAddr)
	d.child = startChild(d.t, syscall.SIGKILL, d.dir, d.program, d.args...)
	d.awaitStatus(http.StatusUnauthorized, "keytail answers for keys")
}

// awaitStatus asks the daemon itself about a key that nobody has.
func (d *daemon) awaitStatus(status int, what string) {
	d.t.Helper()
	stranger := newKey(d.t)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	d.child.await(d.t, func() bool {
		ctx, cancel := context.WithTimeout(d.t.Context(), patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+keytailAddr+"/v1/auth", nil)
		if err != nil {
			d.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+stranger)
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == status
	}, what)
}

// goAway ends the process: nobody listens any more.
func (d *daemon) goAway() { d.child.kill() }

// hang has the process accept connections and answer nothing, until it goes on.
func (d *daemon) hang() {
	d.t.Helper()
	if err := d.child.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	d.child.await(d.t, d.stopped, "every thread of keytail stands still")
}

// stopped looks at all threads: the signal reaches one after the other.
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

func (d *daemon) goOn() {
	d.t.Helper()
	if err := d.child.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		d.t.Fatal(err)
	}
	d.awaitStatus(http.StatusUnauthorized, "keytail goes on")
}

// goBlind takes the MongoDB away and returns when every answer is UNAVAILABLE.
func (d *daemon) goBlind() {
	d.t.Helper()
	d.mongo.Node.StepDown(time.Hour)
	d.awaitStatus(http.StatusServiceUnavailable, "keytail says that it does not know")
}

func (d *daemon) see() {
	d.t.Helper()
	d.mongo.Node.StepUp()
	d.awaitStatus(http.StatusUnauthorized, "keytail knows again")
}
