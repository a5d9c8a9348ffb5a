//go:build linux

// Package examples_test runs the examples of this directory unchanged, with the real
// programs: a proxy with its configuration, a keytail daemon, and an API behind the proxy
// that reports the requests that it receives.
//
// To add a proxy, add a value of type proxy to proxies (proxies_test.go). The tests then
// send it every case of cases_test.go. All configurations of the examples follow these
// rules:
//
//	/orders/  requires the scope orders:read (policy "orders")
//	/acme/    also names an organisation and a project (policy "acme")
//	/public/  passes without a check
//	others    get 404 from the proxy and do not reach the API
//
// On all paths, no X-Auth-* header of a client and no key reaches the API. Without a key,
// no path reaches the API that it could resolve to a path below the first two
// (couldMean), so the proxies refuse or resolve dot segments ("..").
package examples_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/mongotest"
)

// waitTimeout limits waits that take milliseconds on an idle machine.
const waitTimeout = 30 * time.Second

// The addresses that all examples use.
const (
	keytailAddr  = "127.0.0.1:18081"
	keytailGRPC  = "127.0.0.1:18082"
	upstreamAddr = "127.0.0.1:18090"
)

// keytailOps is the address at which a daemon shows that it is ready. No example uses it.
const keytailOps = "127.0.0.1:18083"

// proxy is the example of one proxy.
type proxy struct {
	// name is the name of the subtest and of the column in TABLE.md.
	name string
	// http and https are the addresses of its listeners, without and with TLS.
	http, https string
	// config is its file below this directory. The test copies it unchanged into the
	// working directory, which also has tls/cert.pem and tls/key.pem.
	config string
	// program returns the path of the binary, and skips t if it is not installed.
	program func(t testing.TB) string
	// args returns the arguments to run it in the foreground with this configuration.
	args func(config string) []string
	// end is the signal that ends it and its child processes. Zero: SIGTERM.
	end syscall.Signal
	// keytail are additional flags of the daemon.
	keytail []string
	// differs has the expected outcomes of this proxy that differ from the case's, by the
	// name of the case. README.md gives the reasons.
	differs map[string]want
}

// stage has everything between a client and the API, at the addresses of the examples.
// Only one can exist on a machine at a time.
type stage struct {
	t        *testing.T
	dir      string
	keys     map[string]string // by name
	keytail  *daemon
	upstream *upstream
	proxy    proxy
	child    *child
	seen     *table // collects the responses of try
}

// newStage starts all programs, with the edits applied to the configuration. They end with
// t.
func newStage(t *testing.T, p proxy, edits ...func(config string) string) *stage {
	t.Helper()
	program := p.program(t)
	lockAddresses(t)
	dir := workDir(t)
	s := &stage{t: t, proxy: p, dir: dir}
	s.upstream = startUpstream(t)
	s.keytail, s.keys = startKeytail(t, dir, p.keytail...)
	s.startProxy(program, edits)
	return s
}

// startProxy returns when both listeners of the proxy accept connections.
func (s *stage) startProxy(program string, edits []func(string) string) {
	s.t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(s.proxy.config))
	if err != nil {
		s.t.Fatal(err)
	}
	config := string(content)
	for _, edit := range edits {
		config = edit(config)
	}
	path := filepath.Join(s.dir, filepath.Base(s.proxy.config))
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		s.t.Fatal(err)
	}
	writeCertificate(s.t, filepath.Join(s.dir, "tls"))
	wantFree(s.t, s.proxy.http, s.proxy.https)
	s.child = startChild(s.t, s.proxy.end, s.dir, program, s.proxy.args(path)...)
	for _, addr := range []string{s.proxy.http, s.proxy.https} {
		if addr != "" {
			s.child.awaitAddr(s.t, addr)
		}
	}
}

// remove returns an edit that removes a text from a configuration. The text must exist.
func remove(t *testing.T, line string) func(string) string {
	return replace(t, line, "")
}

// replace returns an edit that replaces a text in a configuration. The text must exist.
func replace(t *testing.T, old, replacement string) func(string) string {
	return func(config string) string {
		t.Helper()
		if !strings.Contains(config, old) {
			t.Fatalf("the configuration does not contain %q", old)
		}
		return strings.ReplaceAll(config, old, replacement)
	}
}

// workDir creates a directory that the workers of a proxy can enter, which may run as
// another user.
func workDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keytail-example")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lockAddresses waits until no other test on this machine uses the addresses.
func lockAddresses(t *testing.T) {
	t.Helper()
	const longest = 10 * time.Minute
	// A file of another user can be locked, but opened only for reading and without
	// O_CREATE (proc(5), protected_regular).
	path := filepath.Join(os.TempDir(), "keytail-examples.lock")
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() }) // this releases the lock
	mongotest.Eventually(t, longest, func() bool {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Fatal(err)
		}
		return err == nil
	}, "another test, perhaps of another clone, holds the lock ", file.Name())
}

// wantFree checks that the addresses are free, so that the error names the address.
func wantFree(t *testing.T, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		if addr == "" {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatalf("another program uses %s, which the configurations of the examples need: %v", addr, err)
		}
		_ = l.Close()
	}
}

// writeCertificate creates cert.pem and key.pem with a self-signed certificate for this
// machine.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", der)
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", key)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dialFrom connects from an address of this machine, which has all of 127.0.0.0/8.
func dialFrom(ctx context.Context, from, addr string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("from %s: %w", from, err)
	}
	return conn, nil
}
