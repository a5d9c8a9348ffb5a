package cli

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// socketPath is short: t.TempDir has the name of the test, and a path has at most 103 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keytail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "public.sock")
}

// leaveSocket leaves a socket behind, as a process does that is killed.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestServeOnASocket: the socket has its mode, serves, and is removed at a stop. The one of a
// killed process does not stop the next one.
func TestServeOnASocket(t *testing.T) {
	path := socketPath(t)
	leaveSocket(t, path)
	r, _, _ := startServe(t, newFake().deps(), "--addr=unix:"+path, "--unix-socket-mode=0606", "--drain-delay=0s")
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o606 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	client := http.Client{Timeout: waitTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	response, err := client.Get("http://keytail/livez")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	client.CloseIdleConnections()
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestASocketReplacesNothingElse: neither a program that listens, nor a file.
func TestASocketReplacesNothingElse(t *testing.T) {
	path := socketPath(t)
	first, err := listenUnix(t.Context(), "addr", path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	if _, err = listenUnix(t.Context(), "addr", path, 0o600); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--addr: another program listens on "+path) {
		t.Errorf("a second listener: %v", err)
	}
	file := filepath.Join(filepath.Dir(path), "file")
	link := filepath.Join(filepath.Dir(path), "link")
	if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{file, link} {
		if _, err = listenUnix(t.Context(), "addr", other, 0o600); err == nil || !strings.Contains(err.Error(), "is no socket") {
			t.Errorf("instead of %s: %v", other, err)
		}
		if _, err := os.Lstat(other); err != nil {
			t.Error(err)
		}
	}
	if _, err = listenUnix(t.Context(), "addr", filepath.Join(file, "sock"), 0o600); err == nil || !strings.Contains(err.Error(), "--addr: cannot listen on ") {
		t.Errorf("in a file: %v", err)
	}
}

// TestOneOfSeveralStartsGetsTheSocket: none takes the new socket of another for an old one.
func TestOneOfSeveralStartsGetsTheSocket(t *testing.T) {
	for range 20 {
		path := socketPath(t)
		leaveSocket(t, path)
		bound := make(chan net.Listener, 8)
		var starts sync.WaitGroup
		for range cap(bound) {
			starts.Go(func() {
				l, err := listenUnix(t.Context(), "addr", path, 0o600)
				if err == nil {
					bound <- l
				} else if !errors.Is(err, syscall.EADDRINUSE) {
					t.Error(err)
				}
			})
		}
		starts.Wait()
		close(bound)
		if len(bound) != 1 {
			t.Errorf("%d of %d starts have the socket", len(bound), cap(bound))
		}
		for l := range bound {
			_ = l.Close()
		}
	}
}

// TestPeersOfASocketAreLocal: --trusted-proxies and --auth-caller-networks can name them.
func TestPeersOfASocketAreLocal(t *testing.T) {
	path := socketPath(t)
	l, err := listenUnix(t.Context(), "addr", path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dialed, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dialed.Close() }()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	if peer := accepted.RemoteAddr().String(); peer != "127.0.0.1:0" {
		t.Errorf("the peer is %s", peer)
	}
}
