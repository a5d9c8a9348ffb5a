package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd is the socket on which the service manager receives notifications.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
}

// startSystemd opens the socket and names it in the environment.
func startSystemd(t *testing.T) systemd {
	t.Helper()
	address := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(t.TempDir(), "notify")}
	conn, err := net.ListenUnixgram(address.Net, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	return systemd{t, conn}
}

// receive waits for the next notification.
func (s systemd) receive() string {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(waitTimeout)); err != nil {
		s.t.Fatal(err)
	}
	message := make([]byte, 1024)
	n, err := s.conn.Read(message)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(message[:n])
}

// silent fails the test if a notification has arrived. It reads from the descriptor,
// because a read with a deadline of now returns before it looks.
func (s systemd) silent(when string) {
	s.t.Helper()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	message, n := make([]byte, 1024), 0
	if controlErr := raw.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), message) }); controlErr != nil {
		s.t.Fatal(controlErr)
	}
	if !errors.Is(err, syscall.EAGAIN) {
		s.t.Errorf("%s: got %q, %v, want no notification", when, message[:max(n, 0)], err)
	}
}

// TestSystemdIsNotified: ready once keytail is live, stopping while requests end.
func TestSystemdIsNotified(t *testing.T) {
	manager := startSystemd(t)
	f := newFake()
	f.live = make(chan struct{})
	started, arrived, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	f.runs = func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}
	f.public = func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "public")
	}
	r := start([]string{unreachable, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--drain-delay=0"}, f.deps())
	<-started
	// The loop that handles the signal also waits for the service to be live.
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.stderr.waitFor(t, "SIGHUP: ")
	manager.silent("before keytail is live")
	close(f.live)
	if got := manager.receive(); got != "READY=1\nSTATUS=serving" {
		t.Errorf("live: got %q", got)
	}
	public, _ := r.serving(t)
	slow := make(chan error, 1)
	go func() {
		_, err := get(t, public)
		slow <- err
	}()
	<-arrived
	manager.silent("before the stop")
	r.signal(t)
	if got := manager.receive(); got != "STOPPING=1\nSTATUS=draining" {
		t.Errorf("stopping: got %q", got)
	}
	close(release)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
	manager.silent("without WatchdogSec")
}

// TestWatchdogNeedsAnAnswer: readyz has to be answered, by any status.
func TestWatchdogNeedsAnAnswer(t *testing.T) {
	manager := startSystemd(t)
	requests, answers := make(chan string), make(chan struct{})
	operations := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.URL.Path
		<-answers
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	ctx, stop := context.WithCancel(t.Context())
	ticks, ended := make(chan time.Time), make(chan error)
	d := &serveRun{log: &logging{Logger: newTestLogger(t)}}
	go func() { ended <- d.watch(ctx, ticks, operations) }()
	for range 3 {
		if path := <-requests; path != "/readyz" {
			t.Errorf("the watchdog requests %s", path)
		}
		manager.silent("before the answer")
		answers <- struct{}{}
		if got := manager.receive(); got != "WATCHDOG=1" {
			t.Errorf("after the answer: got %q", got)
		}
		manager.silent("before the next tick")
		ticks <- time.Time{}
	}
	<-requests
	stop()
	answers <- struct{}{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestWatchdogOfTheUnit: with WatchdogSec, serve notifies until it ends.
func TestWatchdogOfTheUnit(t *testing.T) {
	manager := startSystemd(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	r, _, _ := startServe(t, newFake().deps(), "--drain-delay=0")
	var messages []string
	for len(messages) < 4 || !slices.Contains(messages, "READY=1\nSTATUS=serving") {
		message := manager.receive()
		if messages = append(messages, message); message != "WATCHDOG=1" && !strings.HasPrefix(message, "READY=1") {
			t.Fatalf("got %q", messages)
		}
	}
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
}

// TestSystemdThatDoesNotListen does not keep keytail from serving.
func TestSystemdThatDoesNotListen(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	t.Setenv("WATCHDOG_USEC", "soon")
	r, _, _ := startServe(t, newFake().deps(), "--drain-delay=0")
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d", code)
	}
	for _, want := range []string{"systemd cannot be notified", "systemd's watchdog is not used"} {
		if !strings.Contains(r.stderr.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, r.stderr)
		}
	}
}
