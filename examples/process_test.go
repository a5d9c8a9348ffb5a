//go:build linux

package examples_test

import (
	"cmp"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/mongotest"
)

// child is a process that ends with the test, and with the test binary even if that
// crashes.
type child struct {
	cmd  *exec.Cmd
	end  syscall.Signal
	log  string // the file with its output
	done chan struct{}
}

// startChild runs a program in dir. It keeps a thread until the child has exited, because
// the kernel sends the signal when the thread that started the child ends (prctl(2),
// PR_SET_PDEATHSIG).
func startChild(t *testing.T, end syscall.Signal, dir, program string, args ...string) *child {
	t.Helper()
	end = cmp.Or(end, syscall.SIGTERM)
	log, err := os.CreateTemp(dir, filepath.Base(program)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	c := &child{cmd: exec.Command(program, args...), end: end, log: log.Name(), done: make(chan struct{})}
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = dir, log, log
	// Caddy stores its data in the home directory.
	c.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: end}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

// stop ends the process and waits until it has exited. It can be called repeatedly.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(c.end)
	select {
	case <-c.done:
	case <-time.After(waitTimeout):
		c.kill()
	}
}

// kill ends the process with SIGKILL and waits until it has exited.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// output returns the last part of the process's output.
func (c *child) output() string {
	const most = 8000
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// await waits until cond is true. It fails t with the message after the timeout, or when
// the process exits.
func (c *child) await(t *testing.T, cond func() bool, what string) {
	t.Helper()
	mongotest.Eventually(t, waitTimeout, func() bool {
		select {
		case <-c.done:
			t.Fatalf("%s exited with the output\n%s", c.cmd.Path, c.output())
		default:
		}
		return cond()
	}, what)
}

// awaitAddr waits until the address accepts connections.
func (c *child) awaitAddr(t *testing.T, addr string) {
	t.Helper()
	c.await(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, c.cmd.Path+" does not listen on "+addr)
}

// built has the programs that the tests of this binary have built, by package.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// build builds a program of this module as a user does, once.
func build(t testing.TB, pkg string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path := built.paths[pkg]; path != "" {
		return path
	}
	path := filepath.Join(built.dir, filepath.Base(pkg))
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, output)
	}
	built.paths[pkg] = path
	return path
}

// TestMain removes the built programs.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keytail-built")
	if err != nil {
		panic(err)
	}
	built.dir, built.paths = dir, map[string]string{}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
