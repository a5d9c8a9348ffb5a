package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary starts the test binary as keytail, because signals need a process.
func binary(t *testing.T, args ...string) (cmd *exec.Cmd, stderr *buffer) {
	t.Helper()
	stderr = newBuffer()
	cmd = exec.Command(os.Args[0], append([]string{unreachable, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), asBinary+"=1")
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	stderr.waitFor(t, `"serving"`)
	return cmd, stderr
}

// exit waits for the process and returns its exit code: -1 when a signal killed
// it.
func exit(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	watchdog := time.AfterFunc(waitTimeout, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	err := cmd.Wait()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func send(t *testing.T, cmd *exec.Cmd, signal syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func TestSignalsStopTheProcessCleanly(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, stderr := binary(t, "--drain-delay=0")
		send(t, cmd, signal)
		if code := exit(t, cmd); code != exitOK {
			t.Errorf("%s: got exit code %d; stderr:\n%s", signal, code, stderr)
		}
	}
}

// TestSecondSignalEndsAtOnce even during a drain of five minutes.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	cmd, stderr := binary(t, "--drain-delay=5m")
	send(t, cmd, syscall.SIGTERM)
	stderr.waitFor(t, "stopping")
	send(t, cmd, syscall.SIGINT)
	if code := exit(t, cmd); code != exitFailure {
		t.Errorf("got exit code %d; stderr:\n%s", code, stderr)
	}
}

// TestHangupReloadsAndDoesNotStop: the process reads its files again, says so in one
// line, and then stops as cleanly as ever.
func TestHangupReloadsAndDoesNotStop(t *testing.T) {
	t.Parallel()
	authority, path := newAuthority(t), filepath.Join(t.TempDir(), "old")
	files := authority.write(t, path, "old.test", time.Now().Add(time.Hour))
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"files": {
			[]string{"--tls-cert-file=" + files.CertFile, "--tls-key-file=" + files.KeyFile},
			[]string{`"level":"info"`, `"unchanged":["the certificate files of --addr"]`, "--config, need a restart"},
		},
		"a decision log": {[]string{"--decision-log=file"}, []string{`"level":"info"`, `"decision_log":"opened again"`, "SIGHUP: there is no token file and no certificate to read again"}},
		"no files":       {nil, []string{`"level":"warn"`, "there is no token file, no certificate and no decision log to open again", "--config, need a restart"}},
	} {
		cmd, stderr := binary(t, append(test.args, "--drain-delay=0")...)
		send(t, cmd, syscall.SIGHUP)
		line := stderr.waitFor(t, "SIGHUP: ")
		for _, want := range test.want {
			if !strings.Contains(line, want) {
				t.Errorf("%s: the line lacks %s: %s", name, want, line)
			}
		}
		send(t, cmd, syscall.SIGTERM)
		if code := exit(t, cmd); code != exitOK {
			t.Errorf("%s: got exit code %d; stderr:\n%s", name, code, stderr)
		}
	}
}

// TestHangupNamesWhatItRefused: the reason is in a line of its own.
func TestHangupNamesWhatItRefused(t *testing.T) {
	t.Parallel()
	authority, path := newAuthority(t), filepath.Join(t.TempDir(), "old")
	files := authority.write(t, path, "old.test", time.Now().Add(time.Hour))
	cmd, stderr := binary(t, "--drain-delay=0", "--tls-cert-file="+files.CertFile, "--tls-key-file="+files.KeyFile)
	writeFile(t, files.CertFile, []byte("no certificate"))
	send(t, cmd, syscall.SIGHUP)
	if line := stderr.waitFor(t, "SIGHUP: "); !strings.Contains(line, `"refused":["the certificate files of --addr"]`) || !strings.Contains(line, `"level":"warn"`) {
		t.Errorf("got %s", line)
	}
	stderr.waitFor(t, "changed, and the new content cannot be used: the previous one stays in use")
}

// TestQuitAndBrokenPipeEndTheProcessAsUsual: SIGQUIT prints the goroutines, and a
// write to a standard output that nobody reads ends the process.
func TestQuitAndBrokenPipeEndTheProcessAsUsual(t *testing.T) {
	t.Parallel()
	cmd, stderr := binary(t)
	send(t, cmd, syscall.SIGQUIT)
	if code := exit(t, cmd); code != 2 || !strings.Contains(stderr.String(), "goroutine ") {
		t.Errorf("SIGQUIT: got exit code %d; stderr:\n%s", code, stderr)
	}

	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	version := exec.Command(os.Args[0], "version")
	version.Env, version.Stdout = append(os.Environ(), asBinary+"=1"), writer
	err = version.Run()
	_ = writer.Close()
	status, ok := version.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGPIPE {
		t.Errorf("a broken pipe: got %v, %v", version.ProcessState, err)
	}
}
