package main

import (
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/keytail/keytail/internal/testprogram"
)

// startInTerminal runs `keytail --dev` as the shell of a new terminal window would.
// Closing window closes the window.
func startInTerminal(t *testing.T) (k *keytail, window *os.File) {
	t.Helper()
	window, terminal := testprogram.OpenTerminal(t)
	k = &keytail{stdout: &output{changed: make(chan struct{})}, stderr: &output{changed: make(chan struct{})}}
	k.cmd = exec.Command(os.Args[0], "--dev", "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--dev-mongodb-addr=127.0.0.1:0")
	k.cmd.Env = append(os.Environ(), asBinary+"=1")
	k.cmd.Stdin, k.cmd.Stdout, k.cmd.Stderr = terminal, terminal, k.stderr
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.cmd.Process.Kill() })
	go func() { // until the window is closed
		part := make([]byte, 4096)
		for {
			n, err := window.Read(part)
			if err != nil {
				return
			}
			_, _ = k.stdout.Write([]byte(strings.ReplaceAll(string(part[:n]), "\r", "")))
		}
	}()
	return k, window
}

// TestDevInATerminal: a person sees the token of the pages, and nothing is
// left when the window is closed.
func TestDevInATerminal(t *testing.T) {
	t.Parallel()
	k, window := startInTerminal(t)
	text := k.welcome(t)
	token := tokenIn(t, tokenFileOf(t, text))
	page := regexp.MustCompile(`(?m)^The pages of status and keys are at (\S+)\. Sign in with the token:\n(\S+)$`).FindStringSubmatch(text)
	if page == nil || page[2] != token {
		t.Fatalf("the terminal does not show the token of the pages:\n%s", text)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page[1], http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("anyone", page[2])
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Errorf("the status page: got %s", response.Status)
	}
	if err := window.Close(); err != nil {
		t.Fatal(err)
	}
	if code := k.wait(t); code != 0 {
		log, _ := k.stderr.snapshot()
		t.Errorf("after the window was closed: got exit code %d, want 0; stderr:\n%s", code, log)
	}
	if log, _ := k.stderr.snapshot(); strings.Contains(log, token) {
		t.Errorf("the log has the token:\n%s", log)
	}
}
