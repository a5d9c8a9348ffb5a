package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// remote runs commands against a daemon.
type remote struct {
	t      *testing.T
	env    []string
	secret []string // what must be in no stderr
}

// do runs a command, and checks its exit code.
func (r *remote) do(code int, stdin string, args ...string) result {
	r.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(r.t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), r.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	got := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if got.code != code {
		r.t.Fatalf("%q: got %+v, want exit code %d", args, got, code)
	}
	r.secret = append(r.secret, madeKey.FindAllString(got.stdout, -1)...)
	for _, secret := range r.secret {
		if strings.Contains(got.stderr, secret) {
			r.t.Errorf("%q shows a secret on stderr:\n%s", args, got.stderr)
		}
	}
	return got
}

// madeKey matches the text of a key that keytail has created.
var madeKey = regexp.MustCompile(`kt_[0-9A-Za-z]{49}`)

// adminLine matches the address of the admin listener in the output of --dev.
var adminLine = regexp.MustCompile(`(?m)^  admin +(\S+)`)

// revised has the common fields of the admin API's responses.
type revised struct {
	ID, Key, Revision string
	Synced            bool
}

func (r *remote) json(code int, args ...string) revised {
	r.t.Helper()
	out := r.do(code, "", append(args, "--output=json")...)
	var answer revised
	if err := json.Unmarshal([]byte(out.stdout), &answer); err != nil {
		r.t.Fatalf("%q: %v\n%s", args, err, out.stdout)
	}
	return answer
}

// startRemote starts a daemon with an admin listener.
func startRemote(t *testing.T) (*keytail, *remote) {
	t.Helper()
	const adminToken = "0123456789abcdef-of-the-test"
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte("ops="+adminToken+" role=admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := start(t, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--dev-mongodb-addr=127.0.0.1:0", "--admin-token-file="+path)
	text := k.welcome(t)
	public, admin := curlLine.FindStringSubmatch(text), adminLine.FindStringSubmatch(text)
	if public == nil || admin == nil {
		t.Fatalf("got no addresses in:\n%s", text)
	}
	return k, &remote{t: t, secret: []string{adminToken}, env: []string{
		asBinary + "=1", "KEYTAIL_TOKEN_FILE=" + path, "KEYTAIL_ADMIN_URL=" + admin[1], "KEYTAIL_URL=" + strings.TrimSuffix(public[1], "/v1/keys/verify"),
	}}
}

// TestManagingAKeyWithCommands creates, changes, rotates, revokes and deletes a key of a
// daemon.
func TestManagingAKeyWithCommands(t *testing.T) {
	k, r := startRemote(t)
	verdict := func(code int, key string, flags ...string) string {
		t.Helper()
		return strings.TrimSpace(r.do(code, key+"\n", append([]string{"verify", "--quiet"}, flags...)...).stdout)
	}
	first := r.json(0, "keys", "create", "--user-id=ada", "--name=first", "--scopes=a,b", "--expires=90d", "--wait=fleet")
	if first.Key == "" || !first.Synced {
		t.Fatalf("keys create: got %+v", first)
	}
	if got := verdict(0, first.Key, "--scopes=a,b", "--min-revision="+first.Revision); got != "VALID" {
		t.Errorf("got %s, want VALID", got)
	}
	down := r.json(0, "keys", "update", first.ID, "--name=renamed", "--scopes=a", "--user-id=ada")
	if got := verdict(1, first.Key, "--scopes=b", "--min-revision="+down.Revision); got != "INSUFFICIENT_PERMISSIONS" {
		t.Errorf("got %s, want INSUFFICIENT_PERMISSIONS", got)
	}
	if out := r.do(0, "", "keys", "get", first.ID); !strings.Contains(out.stdout, "name         renamed\n") || madeKey.MatchString(out.stdout) {
		t.Errorf("keys get: got %s", out.stdout)
	}
	r.do(1, "", "keys", "revoke", first.ID, "--user-id=bob") // another user's key
	r.do(1, "", "keys", "update", first.ID, "--name=late", `--if-match="0"`)

	second := r.json(0, "keys", "rotate", first.ID, "--overlap=1h", "--wait=instance")
	for _, key := range []string{first.Key, second.Key} {
		if got := verdict(0, key, "--min-revision="+second.Revision); got != "VALID" {
			t.Errorf("got %s, want VALID", got)
		}
	}
	gone := r.do(0, "", "keys", "revoke", first.ID, "--wait=fleet")
	if !regexp.MustCompile(`keytail: revoked on 1 of 1 instances in \d+ ms\n`).MatchString(gone.stderr) {
		t.Errorf("keys revoke: got stderr %q", gone.stderr)
	}
	if got := verdict(1, first.Key); got != "DISABLED" {
		t.Errorf("got %s, want DISABLED", got)
	}
	r.do(0, "", "sync", second.Revision)
	if list := r.do(0, "", "keys", "list", "--user-id=ada", "--quiet"); list.stdout != second.ID+"\n" {
		t.Errorf("keys list: got %q, want %q", list.stdout, second.ID+"\n")
	}
	if list := r.do(0, "", "instances"); strings.Count(list.stdout, "\n") != 2 {
		t.Errorf("instances: got %q, want two lines", list.stdout)
	}
	r.do(0, "", "keys", "delete", second.ID)
	if got := verdict(1, second.Key); got != "NOT_FOUND" {
		t.Errorf("got %s, want NOT_FOUND", got)
	}
	audit := r.do(0, "", "audit", "--user-id=ada")
	for i, action := range []string{"delete", "list", "revoke", "rotate", "get", "update", "create"} {
		if lines := strings.Split(audit.stdout, "\n"); len(lines) != 9 || !strings.Contains(lines[i+1], " "+action+" ") {
			t.Errorf("audit: got %s", audit.stdout)
		}
	}
	if reads := r.do(0, "", "audit", "--action=get"); strings.Count(reads.stdout, "\n") != 2 {
		t.Errorf("audit of reads: got %s", reads.stdout)
	}
	k.stop(t, os.Interrupt)
	for name, log := range map[string]*output{"stdout": k.stdout, "stderr": k.stderr} {
		if text, _ := log.snapshot(); strings.Contains(text, first.Key) || strings.Contains(text, second.Key) || strings.Contains(text, r.secret[0]) {
			t.Errorf("the daemon's %s contains a secret", name)
		}
	}
	if out := r.do(1, "", "keys", "list"); !strings.Contains(out.stderr, "connection refused") {
		t.Errorf("without a daemon: got stderr %s", out.stderr)
	}
}

// TestEventsByCommand: events reports the creation of a key, and reconnects after the
// daemon has stopped.
func TestEventsByCommand(t *testing.T) {
	k, r := startRemote(t)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	stdout, stderr := &output{changed: make(chan struct{})}, &output{changed: make(chan struct{})}
	cmd := exec.CommandContext(ctx, os.Args[0], "events", "--output=json")
	cmd.Env = append(os.Environ(), r.env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdout.await(t, `"event":"resync"`)
	made := r.json(0, "keys", "create", "--user-id=ada")
	stdout.await(t, `"event":"invalidation","data":{"key_id":"`+made.ID+`"`)
	k.stop(t, os.Interrupt)
	stderr.await(t, "the stream broke, reconnecting")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		text, _ := stderr.snapshot()
		t.Errorf("%v\n%s", err, text)
	}
}

// await waits until the output has a text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(waitTimeout)
	for {
		content, changed := o.snapshot()
		if strings.Contains(content, text) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%q was not written; got:\n%s", text, content)
		}
	}
}
