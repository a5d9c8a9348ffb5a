package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// asBinary is the environment variable that makes the test binary run as keytail.
const asBinary = "KEYTAIL_SERVER_TEST_AS_BINARY"

// waitTimeout limits waits for something that normally takes a second or two.
const waitTimeout = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asBinary) != "" {
		main()
	}
	os.Exit(m.Run())
}

// output is a writer whose changes a test can wait for.
type output struct {
	mu      sync.Mutex
	content bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.content.Write(p)
}

func (o *output) snapshot() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.content.String(), o.changed
}

// keytail is a process under test.
type keytail struct {
	cmd            *exec.Cmd
	stdout, stderr *output
}

// start runs `keytail --dev` in an empty directory, because nothing may depend on the
// working directory.
func start(t *testing.T, args ...string) *keytail {
	t.Helper()
	k := &keytail{
		cmd:    exec.Command(os.Args[0], append([]string{"--dev"}, args...)...),
		stdout: &output{changed: make(chan struct{})},
		stderr: &output{changed: make(chan struct{})},
	}
	k.cmd.Dir = t.TempDir()
	k.cmd.Env = append(os.Environ(), asBinary+"=1")
	k.cmd.Stdout, k.cmd.Stderr = k.stdout, k.stderr
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.cmd.Process.Kill() })
	return k
}

// welcome waits for the last line that --dev prints, and returns the whole output.
func (k *keytail) welcome(t *testing.T) string {
	t.Helper()
	deadline := time.After(waitTimeout)
	for {
		content, changed := k.stdout.snapshot()
		if strings.Contains(content, "\nCtrl-C stops.\n") {
			return content
		}
		select {
		case <-changed:
		case <-deadline:
			log, _ := k.stderr.snapshot()
			t.Fatalf("keytail did not become ready; stdout:\n%s\nstderr:\n%s", content, log)
		}
	}
}

// stop sends a signal and returns the exit code.
func (k *keytail) stop(t *testing.T, signal os.Signal) int {
	t.Helper()
	if err := k.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return k.wait(t)
}

func (k *keytail) wait(t *testing.T) int {
	t.Helper()
	watchdog := time.AfterFunc(waitTimeout, func() { _ = k.cmd.Process.Kill() })
	defer watchdog.Stop()
	err := k.cmd.Wait()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return k.cmd.ProcessState.ExitCode()
}

// Lines that --dev prints for pasting.
var (
	curlLine    = regexp.MustCompile(`(?m)^curl -s -w '\\n' (\S+) -H 'Content-Type: application/json' -d '([^']+)'$`)
	mongoshLine = regexp.MustCompile(`(?m)^mongosh '([^']+)' --quiet --eval 'db\.getSiblingDB\("(\w+)"\)\.getCollection\("(\w+)"\)\.updateOne\(\{_id: ObjectId\("(\w{24})"\)\}, \{\$set: \{is_active: false\}\}\)'$`)
)

// paste sends the request of a curl line, and returns the verdict's code.
func paste(t *testing.T, line []string) string {
	t.Helper()
	response, err := http.Post(line[1], "application/json", strings.NewReader(line[2]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var verdict struct{ Code string }
	if err := json.NewDecoder(response.Body).Decode(&verdict); err != nil {
		t.Fatal(err)
	}
	return verdict.Code
}

// TestDevDoesWhatItPrints follows the printed commands from the start to Ctrl-C.
func TestDevDoesWhatItPrints(t *testing.T) {
	k := start(t, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--dev-mongodb-addr=127.0.0.1:0")
	text := k.welcome(t)
	curls := curlLine.FindAllStringSubmatch(text, -1)
	revoke := mongoshLine.FindStringSubmatch(text)
	if len(curls) != 3 || revoke == nil {
		t.Fatalf("got other lines, want three curl lines and a mongosh line:\n%s", text)
	}
	for i, want := range []string{"VALID", "EXPIRED", "INSUFFICIENT_PERMISSIONS"} {
		if code := paste(t, curls[i]); code != want {
			t.Errorf("curl line %d: got %s, want %s", i+1, code, want)
		}
	}
	revokeByDriver(t, revoke)
	deadline := time.Now().Add(time.Second)
	for paste(t, curls[0]) != "DISABLED" {
		if time.Now().After(deadline) {
			t.Fatal("the revoked key is not DISABLED after a second")
		}
	}
	if code := k.stop(t, os.Interrupt); code != 0 {
		log, _ := k.stderr.snapshot()
		t.Errorf("Ctrl-C: got exit code %d, want 0; stderr:\n%s", code, log)
	}
}

// revokeByDriver makes the update of the mongosh line.
func revokeByDriver(t *testing.T, line []string) {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(line[1]).SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	defer func() { _ = client.Disconnect(ctx) }()
	id, err := bson.ObjectIDFromHex(line[4])
	if err != nil {
		t.Fatal(err)
	}
	result, err := client.Database(line[2]).Collection(line[3]).UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
	if err != nil || result.ModifiedCount != 1 {
		t.Fatalf("revoke: %+v, %v", result, err)
	}
}

// TestDevTakesFreePorts if another program uses the default ports.
func TestDevTakesFreePorts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	k := start(t, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--dev-mongodb-addr="+taken.Addr().String())
	text := k.welcome(t)
	if strings.Contains(text, taken.Addr().String()) {
		t.Errorf("stdout has an address that another program uses:\n%s", text)
	}
	if log, _ := k.stderr.snapshot(); !strings.Contains(log, "using a free one") {
		t.Errorf("stderr does not report the other port:\n%s", log)
	}
	if code := k.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: got exit code %d, want 0", code)
	}
}

func TestDevIsRefusedInProduction(t *testing.T) {
	t.Setenv("ENVIRONMENT", "production")
	k := start(t)
	if code := k.wait(t); code != 2 {
		t.Errorf("got exit code %d, want 2", code)
	}
	if log, _ := k.stderr.snapshot(); !strings.Contains(log, "--dev is refused because ENVIRONMENT is production") {
		t.Errorf("stderr:\n%s", log)
	}
}
