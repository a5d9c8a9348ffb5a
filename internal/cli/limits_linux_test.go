package cli

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// fewDescriptors starts keytail with a limit of 256 open files and all HTTP listeners,
// and returns their addresses by the keys of the log.
func fewDescriptors(t *testing.T) map[string]string {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	writeFile(t, tokens, []byte("ann=0123456789abcdef role=viewer\n"))
	stderr := newBuffer()
	cmd := exec.Command("/bin/sh", "-c", `ulimit -n 256 && exec "$0" "$@"`, os.Args[0], unreachable,
		"--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--admin-token-file="+tokens, "--drain-delay=0")
	cmd.Env, cmd.Stderr = append(os.Environ(), asBinary+"=1"), stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		send(t, cmd, syscall.SIGTERM)
		if code := exit(t, cmd); code != exitOK {
			t.Errorf("got exit code %d; stderr:\n%s", code, stderr)
		}
	})
	var line map[string]any
	if err := json.Unmarshal([]byte(stderr.waitFor(t, `"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	addresses := map[string]string{}
	for _, key := range []string{"addr", "ops_addr", "admin_addr"} {
		addresses[key], _ = line[key].(string)
	}
	return addresses
}

// TestIdleClientsDoNotUseUpTheDescriptors: 400 clients hold connections to the public
// listener of a process with 256 descriptors, half of them without a request. All three
// listeners answer.
func TestIdleClientsDoNotUseUpTheDescriptors(t *testing.T) {
	addresses := fewDescriptors(t)
	for i := range 400 {
		conn, err := net.Dial("tcp", addresses["addr"])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if i%2 == 0 {
			continue
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 4 * time.Second} // less than readHeaderTimeout
	for key, address := range addresses {
		response, err := client.Get("http://" + address)
		if err != nil {
			t.Errorf("%s does not answer: %v", key, err)
			continue
		}
		_ = response.Body.Close()
	}
}
