//go:build linux

// Package examples_test runs the examples of this directory as they stand, each
// with the real program: a proxy with its file, a keytail daemon, and an API
// behind it that says what it got.
//
// A new proxy is one value of type proxy in proxies (proxies_test.go): every case
// of cases_test.go is then asked of it. All of them share these rules of the
// examples' configs:
//
//	/orders/  needs the scope orders:read (policy "orders")
//	/acme/    needs it and names an organisation and a project (policy "acme")
//	/public/  is passed on without asking
//	the rest  is 404 from the proxy, and nothing of it is passed on
//
// No X-Auth-* of a client reaches the API on any of them, and no key; and nothing
// gets there without a key that some API could take for a path below the first
// two (couldMean), so that steps ("..") are refused or taken out.
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

// patience is for things that take milliseconds on a quiet machine.
const patience = 30 * time.Second

// The addresses that are the same in all examples.
const (
	keytailAddr  = "127.0.0.1:18081"
	keytailGRPC  = "127.0.0.1:18082"
	upstreamAddr = "127.0.0.1:18090"
)

// proxy is one example of a proxy.
type proxy struct {
	// name is that of the subtest and of the column in the table.
	name string
	// http and https are the addresses of its listeners, without and with TLS.
	http, https string
	// config is its file below this directory, which is used as it is: a copy of it
	// lies in the working directory, beside tls/cert.pem and tls/key.pem.
	config string
	// program is the path of the binary; it skips t where there is none.
	program func(t testing.TB) string
	// args make it run in the foreground with the config of this path.
	args func(config string) []string
	// end is the signal that ends it with all its children. Zero: SIGTERM.
	end syscall.Signal
	// keytail are flags of the daemon beyond those of keytail.yaml.
	keytail []string
	// differs says what else is right here, by the name of a case: what this proxy
	// does in another way than the case wants. README.md has to say why.
	differs map[string]want
}

// stage is everything between a client and the API, at the examples' addresses.
// Only one exists on a machine at a time.
type stage struct {
	t        *testing.T
	dir      string
	keys     map[string]string // by name
	keytail  *daemon
	upstream *upstream
	proxy    proxy
	child    *child
	seen     *table // gets what the clients of try see
}

// newStage starts all of it, with the example's config changed by each edit.
// Everything ends with t.
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

// startProxy returns when the proxy answers on both listeners.
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

// without is an edit that takes a line out of a config, and wants it to be there.
func without(t *testing.T, line string) func(string) string {
	return instead(t, line, "")
}

// instead is an edit that puts one text in place of another, which must be there.
func instead(t *testing.T, old, replacement string) func(string) string {
	return func(config string) string {
		t.Helper()
		if !strings.Contains(config, old) {
			t.Fatalf("the config has no %q", old)
		}
		return strings.ReplaceAll(config, old, replacement)
	}
}

// workDir is a directory that the workers of a proxy, who may be another user,
// can enter.
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
	// Another user's file may be locked as well, but not be opened for more than
	// reading, nor with O_CREATE (proc(5), protected_regular).
	path := filepath.Join(os.TempDir(), "keytail-examples.lock")
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() }) // which gives the lock back
	mongotest.Eventually(t, longest, func() bool {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Fatal(err)
		}
		return err == nil
	}, "another test, perhaps of another clone, has the lock ", file.Name())
}

// wantFree says which address is taken before a program fails for it in words of
// its own.
func wantFree(t *testing.T, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		if addr == "" {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatalf("%s is taken by another program, and the examples' configs name it: %v", addr, err)
		}
		_ = l.Close()
	}
}

// writeCertificate makes cert.pem and key.pem, of a certificate for this machine
// that signs itself.
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

// dialFrom connects from an address of this machine: all of 127.0.0.0/8 is.
func dialFrom(ctx context.Context, from, addr string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("from %s: %w", from, err)
	}
	return conn, nil
}
