package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// result is the outcome of one command.
type result struct {
	code           int
	stdout, stderr string
}

// run ends a command after a minute: a serve that should refuse might start.
func run(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asBinary+"=1")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// TestDoctorCommand tests the output for people and for scripts, and the exit code.
// internal/integration tests the checks.
func TestDoctorCommand(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	database := d.Database(t)
	keys := mongotest.CreateAPIKeys(t, d.Client(t).Database(database))
	uri := strings.Replace(d.URI, "/?", "/"+database+"?", 1)

	fitting := run(t, "doctor", "--mongodb-uri="+uri)
	if lines := strings.Split(fitting.stdout, "\n"); fitting.code != 0 || len(lines) != 13 || !strings.HasPrefix(lines[0], "ok         deployment    replica set devmongo, 1 member") ||
		!strings.HasSuffix(lines[11], " can run here") || fitting.stderr != "" || strings.Contains(fitting.stdout, "\x1b") {
		t.Errorf("doctor of a good collection: got %+v", fitting)
	}
	if unfit := run(t, "doctor", "--mongodb-uri="+uri, "--collection=other"); unfit.code != 1 || !strings.Contains(unfit.stdout, "\nto do      collection    database ") ||
		!strings.Contains(unfit.stdout, "cannot run here yet: 1 of 11 checks failed, 7 not tried") {
		t.Errorf("doctor of a missing collection: got %+v", unfit)
	}
	if _, err := keys.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "odd"}, {Key: "key_hash", Value: "$2b$12$abcdefghijklmnopqrstuv"}, {Key: "is_active", Value: true}, {Key: "user_id", Value: "u"}}); err != nil {
		t.Fatal(err)
	}
	var report struct {
		OK      bool
		Version string
		Checks  []struct {
			Name, Status, Detail string
			More                 []string
		}
	}
	out := run(t, "doctor", "--mongodb-uri="+uri, "--output=json")
	if err := json.Unmarshal([]byte(out.stdout), &report); err != nil || out.code != 1 || report.OK || report.Version == "" || len(report.Checks) != 11 {
		t.Fatalf("doctor --output=json: got %v, %+v", err, out)
	}
	if c := report.Checks[5]; c.Name != "documents" || c.Status != "to do" || !strings.Contains(c.Detail, "bcrypt") || len(c.More) == 0 {
		t.Errorf("the check of the documents: got %+v", c)
	}
	for _, wrong := range [][]string{{"--dev"}, {}, {"--mongodb-uri=" + uri, "--output=xml"}, {"--mongodb-uri=" + uri, "--map-name=user_id"}} {
		if got := run(t, append([]string{"doctor"}, wrong...)...); got.code != 2 || got.stdout != "" {
			t.Errorf("doctor %q: got %+v, want exit code 2", wrong, got)
		}
	}
}

// TestConnectionStrings: the commands override or refuse options that would break
// guarantees, and say so. internal/mongoclient tests each option.
func TestConnectionStrings(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	database := d.Database(t)
	mongotest.CreateAPIKeys(t, d.Client(t).Database(database))
	with := func(query string) string {
		uri, _, _ := strings.Cut(d.URI, "?")
		return "--mongodb-uri=" + uri + database + "?" + query
	}
	const weak = "replicaSet=devmongo&readConcernLevel=local&w=1&readPreference=secondary&retryWrites=false"
	if got := run(t, "doctor", with(weak)); got.code != 0 || strings.Count(got.stdout, "warning    uri ") != 4 {
		t.Errorf("overridden options: got %+v", got)
	}
	for _, command := range []string{"doctor", "serve"} {
		got := run(t, command, with("replicaSet=rs7"), "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0")
		if out := got.stdout + got.stderr; got.code != 1 || !strings.Contains(out, "set replicaSet=devmongo") {
			t.Errorf("%s, another set: %+v", command, got)
		}
		if got := run(t, command, with("timeoutMS=500&loadBalanced=true")); got.code != 2 || !strings.Contains(got.stderr, "timeoutMS") || !strings.Contains(got.stderr, "loadBalanced") {
			t.Errorf("%s, refused options: got %+v", command, got)
		}
	}
	large := mongotest.StartDevmongo(t, devmongo.Config{OtherMembers: []string{"db2:27017", "db3:27017"}})
	uri, _, _ := strings.Cut(large.URI, "?")
	if got := run(t, "serve", "--mongodb-uri="+uri+"keys?directConnection=true"); got.code != 1 || !strings.Contains(got.stderr, "has 3 members") {
		t.Errorf("a direct connection: got %+v", got)
	}
}

// TestDoctorOfMongoDB44: 4.4.0 and 4.4.1 have no hello.
func TestDoctorOfMongoDB44(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{Release44: true})
	database := d.Database(t)
	mongotest.CreateAPIKeys(t, d.Client(t).Database(database))
	uri := strings.Replace(d.URI, "/?", "/"+database+"?", 1)
	if got := run(t, "doctor", "--mongodb-uri="+uri); got.code != 0 || !strings.Contains(got.stdout, "MongoDB 4.4.1") {
		t.Errorf("doctor: got %+v", got)
	}
}
