package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// probeTimeout is for a connection within this machine, which takes microseconds.
const probeTimeout = time.Second

// listenUnix binds a socket in the file system, which users with this mode can connect to.
// It replaces a socket that nobody listens on any more, and nothing else. The errors are
// those of listen.
func listenUnix(ctx context.Context, flag, path string, mode fs.FileMode) (net.Listener, error) {
	l, err := bindUnix(ctx, path, mode)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--%s: another program listens on %s: stop it, or use another path (%w)", flag, path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: cannot listen on %s: %w", flag, path, err)
	}
	return localPeers{l}, nil
}

// bindUnix holds a lock: of two programs that start together, the second one must not take
// the new socket of the first one for an old one.
func bindUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	unlock, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// Until here only this user can connect, unless the umask is very open.
	if err := os.Chmod(path, mode); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// lockDirectory waits for the lock of a directory, which leaves no file behind.
func lockDirectory(path string) (unlock func(), err error) {
	directory, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(directory.Fd()), syscall.LOCK_EX); err != nil {
		_ = directory.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = directory.Close() }, nil
}

// removeStale removes the socket of a program that has been killed. A stop removes it.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("the file exists and is no socket: remove it, or use another path")
	}
	dialer := net.Dialer{Timeout: probeTimeout}
	connection, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = connection.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("it is not known whether another program listens: %w", err)
	}
	return os.Remove(path)
}

// localPeers gives the peers of a Unix socket, which have no address, that of this
// machine: networks in the settings that contain 127.0.0.1 contain them.
type localPeers struct{ net.Listener }

// Accept is net.Listener's.
func (l localPeers) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return localPeer{accepted}, nil
}

type localPeer struct{ net.Conn }

// RemoteAddr is net.Conn's.
func (localPeer) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
}
