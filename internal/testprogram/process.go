package testprogram

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"time"
)

// ErrExited means that the process ended before it was ready.
var ErrExited = errors.New("the process exited")

// pollInterval is the interval at which conditions are checked.
const pollInterval = 10 * time.Millisecond

// Process is a child process that is killed when the test binary ends, however it
// ends.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Start starts a program whose output goes to a log file in dir.
//
// The goroutine keeps its thread until the child has ended: on Linux the kernel
// kills the child when the thread that started it ends (prctl(2),
// PR_SET_PDEATHSIG).
func Start(program string, args []string, dir string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p := &Process{cmd: exec.Command(program, args...), log: log.Name(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, dir
	killWithParent(p.cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	return p, <-started
}

// Pid is the process ID.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal. It fails if the process has ended.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode is the exit code after Done, and -1 if a signal has ended the process.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Kill ends the process with SIGKILL and returns when it has ended. It does nothing
// when the process has ended already.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only if the process has ended
	<-p.done
}

// AwaitPort returns when a local TCP port accepts connections.
func (p *Process) AwaitPort(ctx context.Context, port int) error {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	_, err := p.await(ctx, func() (string, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return "", nil // not yet
		}
		return address, conn.Close()
	})
	if err != nil {
		return fmt.Errorf("port %d accepts no connections: %w", port, err)
	}
	return nil
}

// AwaitLog waits for a line of the log, and returns the expression's first group.
func (p *Process) AwaitLog(ctx context.Context, expression *regexp.Regexp) (string, error) {
	found, err := p.await(ctx, func() (string, error) {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return "", err
		}
		if match := expression.FindSubmatch(text); match != nil {
			return string(match[1]), nil
		}
		return "", nil
	})
	if err != nil {
		return "", fmt.Errorf("the log has no %q: %w", expression, err)
	}
	return found, nil
}

// await calls poll until it returns a result or an error, the process ends, or the
// context ends.
func (p *Process) await(ctx context.Context, poll func() (string, error)) (string, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if result, err := poll(); err != nil || result != "" {
			return result, err
		}
		select {
		case <-p.done:
			return "", ErrExited
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// LogTail is the end of the process's output.
func (p *Process) LogTail() string {
	const limit = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-limit):])
}
