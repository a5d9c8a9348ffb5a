package cli

import (
	"errors"
	"os"
	"os/exec"
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
