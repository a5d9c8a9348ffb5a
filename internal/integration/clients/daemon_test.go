package clients_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/seed"
	"github.com/keytail/keytail/internal/testprogram"
)

// startTimeout is how long a daemon may take until it serves. It takes less than a
// second on an idle machine.
const startTimeout = time.Minute

// The tokens of the daemon.
const (
	callerToken = "caller-token-of-web"
	adminToken  = "admin-token-of-ann"
)

// daemon is a process `keytail --dev` with the sample keys.
type daemon struct {
	process       *testprogram.Process
	public, admin string // URLs
}

// buildKeytail builds the program, and returns its path.
func buildKeytail(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "keytail")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../../cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

func startDaemon(t *testing.T, program string) *daemon {
	t.Helper()
	dir := t.TempDir()
	for name, token := range map[string]string{"callers": "web=" + callerToken, "admins": "ann=" + adminToken + " role=admin"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	process, err := testprogram.Start(program, []string{
		"--dev", "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0",
		"--caller-token-file=callers", "--admin-token-file=admins",
	}, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	d := &daemon{process: process}
	for name, address := range map[string]*string{"public": &d.public, "admin": &d.admin} {
		if *address, err = process.AwaitLog(ctx, regexp.MustCompile(`(?m)^  `+name+` +(http://[0-9.:]+)`)); err != nil {
			t.Fatalf("%v; its log ends with\n%s", err, process.LogTail())
		}
	}
	return d
}

// environment is what the programs of the clients need.
func (d *daemon) environment() []string {
	return []string{
		"KEYTAIL_URL=" + d.public, "KEYTAIL_CALLER_TOKEN=" + callerToken,
		"KEYTAIL_ADMIN_URL=" + d.admin, "KEYTAIL_ADMIN_TOKEN=" + adminToken,
	}
}

// sample is the text of a sample key.
func sample(t *testing.T, name string) string {
	t.Helper()
	example, err := seed.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return example.Key
}
