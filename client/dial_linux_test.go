package client

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/keytail/keytail/auth"
)

// A listener whose queue is full drops connections.
func TestDialTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	dialer := net.Dialer{Timeout: 100 * time.Millisecond}
	full := false
	for range 10 {
		conn, err := dialer.DialContext(t.Context(), "tcp", address)
		if full = err != nil; full {
			break
		}
		defer conn.Close()
	}
	if !full {
		t.Skip("this kernel has no limit on the queue")
	}
	began := time.Now()
	_, err = newClient(t, "http://"+address, func(c *Config) { c.DialTimeout = 50 * time.Millisecond }).Validate(t.Context(), secret, auth.Request{})
	if took := time.Since(began); !errors.Is(err, auth.ErrUnavailable) || !isUnreachable(err) || took > 3*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}
