package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/client"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/tracing/otlptest"
	"github.com/keytail/keytail/internal/tracing/tracingtest"
)

// commands are the commands that a server has received.
type commands struct {
	mutex sync.Mutex
	all   []bson.D
}

func (c *commands) see(command bson.D) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.all = append(c.all, command)
}

// comments are those of the finds in a collection.
func (c *commands) comments(collection string) []string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var comments []string
	for _, command := range c.all {
		for _, e := range command {
			if e.Key == "comment" && command[0].Key == "find" && command[0].Value == collection {
				comments = append(comments, e.Value.(string))
			}
		}
	}
	return comments
}

const tracedKey, callerToken = "a-key-that-no-span-has", "0123456789abcdef-caller"

var servingOn = regexp.MustCompile(`"msg":"serving".*"addr":"([^"]+)"`)

// startTraced starts a daemon that exports its traces.
func startTraced(t *testing.T, uri, database, endpoint string, args ...string) (k *keytail, url string) {
	t.Helper()
	dir := t.TempDir()
	tokens := filepath.Join(dir, "callers")
	if err := os.WriteFile(tokens, []byte("api="+callerToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k = &keytail{
		cmd: exec.Command(os.Args[0], append([]string{
			"serve", "--mongodb-uri=" + uri, "--database=" + database, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0",
			"--preload=off", "--cache-size=8", "--drain-delay=0s", "--log-level=debug", "--caller-token-file=" + tokens,
		}, args...)...),
		stdout: &output{changed: make(chan struct{})}, stderr: &output{changed: make(chan struct{})},
	}
	k.cmd.Dir, k.cmd.Stdout, k.cmd.Stderr = dir, k.stdout, k.stderr
	k.cmd.Env = append(os.Environ(), asBinary+"=1",
		"OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_SERVICE_NAME=keys-of-the-test", "OTEL_BSP_SCHEDULE_DELAY=10")
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.cmd.Process.Kill() })
	k.logs(t, servingOn)
	log, _ := k.stderr.snapshot()
	return k, "http://" + servingOn.FindStringSubmatch(log)[1]
}

// TestATraceFromTheClientToMongoDB follows the trace of a request: the span of the client,
// that of the daemon below it, the read, the command, and the comment that MongoDB sees.
func TestATraceFromTheClientToMongoDB(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	var seen commands
	server := mongotest.StartDevmongo(t, devmongo.Config{Observe: seen.see})
	database := server.Database(t)
	keys := mongotest.CreateAPIKeys(t, server.Client(t).Database(database))
	hash := sha256.Sum256([]byte(tracedKey))
	if _, err := keys.InsertOne(ctx, bson.D{{Key: "_id", Value: "k1"}, {Key: "key_hash", Value: hex.EncodeToString(hash[:])}, {Key: "user_id", Value: "u1"}, {Key: "is_active", Value: true}}); err != nil {
		t.Fatal(err)
	}
	collector, endpoint := otlptest.HTTP(t)
	k, url := startTraced(t, server.URI, database, endpoint, "--decision-log=decisions.log", "--decision-log-accepts=1")

	api := tracingtest.New()
	verifier, err := client.New(client.Config{URL: url, Token: callerToken})
	if err != nil {
		t.Fatal(err)
	}
	requestCtx, request := api.Begin(ctx, "GET /orders")
	verdict, err := verifier.Validate(requestCtx, tracedKey, auth.Request{})
	if err != nil || !verdict.Valid() {
		t.Fatalf("%+v, %v", verdict, err)
	}
	request.End()
	trace, parent := request.SpanContext().TraceID().String(), request.SpanContext().SpanID().String()

	below := func(name, id string) otlptest.Span {
		return collector.Await(ctx, t, name+" below "+id, func(s otlptest.Span) bool {
			return s.Name == name && s.TraceID == trace && s.ParentID == id && s.Service == "keys-of-the-test"
		})
	}
	answer := below("POST /v1/keys/verify", parent)
	read := below("keytail.read", answer.ID)
	below("find api_keys", read.ID)
	for key, want := range map[string]string{
		"keytail.code": "VALID", "keytail.source": "fill", "keytail.revision": verdict.Revision.String(), "http.route": "/v1/keys/verify",
	} {
		if got := answer.Attributes[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if caller := api.Span(t, "GET /orders"); tracingtest.Value(caller, "keytail.code") != "VALID" || tracingtest.Value(caller, "keytail.source") != "fill" {
		t.Errorf("the span of the client has %v", caller.Attributes)
	}
	want := "traceparent='00-" + trace + "-" + read.ID + "-01'"
	if got := seen.comments(keys.Name()); len(got) != 1 || got[0] != want {
		t.Errorf("the comments of finds are %q, want %q", got, want)
	}
	open := collector.Await(ctx, t, "the open stream", func(s otlptest.Span) bool { return s.Name == "keytail.stream.open" })
	if open.ParentID != "" || open.TraceID == trace {
		t.Errorf("the stream was opened within another trace: %+v", open)
	}
	k.logs(t, regexp.MustCompile(`"msg":"request answered".*"trace_id":"`+trace+`","span_id":"`+answer.ID+`"`))
	if code := k.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	decisions, err := os.ReadFile(filepath.Join(k.cmd.Dir, "decisions.log"))
	if err != nil || !strings.Contains(string(decisions), `"trace_id":"`+trace+`"`) {
		t.Errorf("the decision log is %s, %v", decisions, err)
	}
	// The use of the key is written at the stop, and exported after that.
	collector.Await(ctx, t, "the flush of usage", func(s otlptest.Span) bool { return s.Name == "keytail.usage.flush" })
	for _, secret := range []string{tracedKey, hex.EncodeToString(hash[:]), callerToken} {
		if strings.Contains(collector.Text(), secret) {
			t.Errorf("%q was exported:\n%s", secret, collector.Text())
		}
	}
}
