package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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

// logs waits until the log matches.
func (k *keytail) logs(t *testing.T, want *regexp.Regexp) {
	t.Helper()
	deadline := time.After(waitTimeout)
	for {
		log, changed := k.stderr.snapshot()
		if want.MatchString(log) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the log does not match %s:\n%s", want, log)
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
	curlLine = regexp.MustCompile(`(?m)^curl -s -w '\\n' (\S+) -H 'Content-Type: application/json' -d '([^']+)'$`)
	keysLine = regexp.MustCompile(`(?m)^\S+ keys (?:create|revoke) .*$`)
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

// pasteInShell runs a printed line as a shell does, and returns what it prints.
func pasteInShell(t *testing.T, line string) (stdout, stderr string) {
	t.Helper()
	var out, wrong bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Env = append(os.Environ(), asBinary+"=1")
	cmd.Stdout, cmd.Stderr = &out, &wrong
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", line, err, &out, &wrong)
	}
	return out.String(), wrong.String()
}

// TestDevDoesWhatItPrints follows the printed commands from the start to Ctrl-C.
func TestDevDoesWhatItPrints(t *testing.T) {
	k := start(t, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--dev-mongodb-addr=127.0.0.1:0")
	text := k.welcome(t)
	curls, keys := curlLine.FindAllStringSubmatch(text, -1), keysLine.FindAllString(text, -1)
	if len(curls) != 3 || len(keys) != 2 {
		t.Fatalf("got other lines, want three curl lines and two keys lines:\n%s", text)
	}
	for i, want := range []string{"VALID", "EXPIRED", "INSUFFICIENT_PERMISSIONS"} {
		if code := paste(t, curls[i]); code != want {
			t.Errorf("curl line %d: got %s, want %s", i+1, code, want)
		}
	}
	created, stderr := pasteInShell(t, keys[0])
	if !strings.Contains(stderr, "created on 1 of 1 instances") {
		t.Errorf("the creation: got %q", stderr)
	}
	made := madeKey.FindString(created)
	if code := paste(t, []string{"", curls[0][1], `{"key":"` + made + `","scopes":["orders:read"]}`}); code != "VALID" {
		t.Errorf("the created key: got %s, want VALID:\n%s", code, created)
	}
	if _, stderr := pasteInShell(t, keys[1]); !strings.Contains(stderr, "revoked on 1 of 1 instances") {
		t.Errorf("the revocation: got %q", stderr)
	}
	if code := paste(t, curls[0]); code != "DISABLED" {
		t.Errorf("the revoked key: got %s, want DISABLED", code)
	}
	tokenFile := tokenFileOf(t, text)
	if info, err := os.Stat(tokenFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token file: got %v, %v, want the mode 0600", info, err)
	}
	token := tokenIn(t, tokenFile)
	if code := k.stop(t, os.Interrupt); code != 0 {
		log, _ := k.stderr.snapshot()
		t.Errorf("Ctrl-C: got exit code %d, want 0; stderr:\n%s", code, log)
	}
	if _, err := os.Stat(filepath.Dir(tokenFile)); !os.IsNotExist(err) {
		t.Errorf("the directory of the token is left behind: %v", err)
	}
	log, _ := k.stderr.snapshot()
	if strings.Contains(text+log, token) {
		t.Error("the output or the log, which may be stored, has the token")
	}
}

// tokenFileOf returns the file with the admin token that --dev has made.
func tokenFileOf(t *testing.T, text string) string {
	t.Helper()
	found := regexp.MustCompile(`--token-file (\S+)`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no token file is printed:\n%s", text)
	}
	return found[1]
}

func tokenIn(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	token, ok := strings.CutPrefix(strings.TrimSuffix(string(content), " role=admin\n"), "dev=")
	if err != nil || !ok {
		t.Fatalf("the token file: %v", err)
	}
	return token
}

// TestDevTakesFreePorts if another program uses the default ports, and says so.
func TestDevTakesFreePorts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	k := start(t, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--dev-mongodb-addr="+taken.Addr().String())
	text := k.welcome(t)
	moved := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(taken.Addr().String()) + ` is in use: the in-memory MongoDB is on (\S+)$`).FindStringSubmatch(text)
	if moved == nil || !strings.Contains(text, "  MongoDB     mongodb://"+moved[1]+"/") {
		t.Errorf("stdout does not report the other port:\n%s", text)
	}
	if log, _ := k.stderr.snapshot(); !strings.Contains(log, "an address is in use, the in-memory MongoDB takes a free port") {
		t.Errorf("stderr does not report the other port:\n%s", log)
	}
	if code := k.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: got exit code %d, want 0", code)
	}
}

// TestHangupReadsTheTokensAgain: the new token works once the signal's line is in the log.
func TestHangupReadsTheTokensAgain(t *testing.T) {
	t.Parallel()
	k := start(t, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--dev-mongodb-addr=127.0.0.1:0")
	text := k.welcome(t)
	if err := os.WriteFile(tokenFileOf(t, text), []byte("dev=another-token-of-the-test role=admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	k.logs(t, regexp.MustCompile(`SIGHUP: .*"the file of --admin-token-file"`))
	pasteInShell(t, keysLine.FindString(text))
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
