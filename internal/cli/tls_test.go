package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/mongoclient"
)

// authority is a CA for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.pem = sign(t, nil, "authority", time.Now().Add(time.Hour))
	return a
}

// sign creates a certificate; without an authority it is self-signed.
func sign(t *testing.T, by *authority, name string, until time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, parentKey := template, key
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, parentKey = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// write writes a certificate for this name, and its key, to files that begin with path.
func (a *authority) write(t *testing.T, path, name string, until time.Time) config.TLSFiles {
	t.Helper()
	_, key, certPEM := sign(t, a, name, until)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := config.TLSFiles{CertFile: path + ".crt", KeyFile: path + ".key"}
	writeFile(t, files.CertFile, certPEM)
	writeFile(t, files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return files
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// client returns a client that trusts the authority for this name, and presents the
// certificate of show, if any.
func (a *authority) client(t *testing.T, name string, show config.TLSFiles) *http.Client {
	t.Helper()
	made := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: name}
	made.RootCAs.AddCert(a.cert)
	if show.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(show.CertFile, show.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		made.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: made, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: waitTimeout}
}

func getTLS(t *testing.T, client *http.Client, url string) (body string, proto int, err error) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	client.CloseIdleConnections()
	return string(content), response.ProtoMajor, err
}

func TestServeWithTLSOnAllListeners(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	until := time.Now().Add(time.Hour)
	server := ca.write(t, filepath.Join(dir, "server"), "keytail.example", until)
	caller := ca.write(t, filepath.Join(dir, "caller"), "caller", until)
	stranger := newAuthority(t).write(t, filepath.Join(dir, "stranger"), "caller", until)
	caFile, tokenFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tokens")
	writeFile(t, caFile, ca.pem)
	writeFile(t, tokenFile, []byte("ann=0123456789abcdef role=admin\n"))
	f := newFake()
	args := []string{"--drain-delay=0", "--tls-client-ca-file=" + caFile, "--admin-token-file=" + tokenFile, "--admin-addr=127.0.0.1:0"}
	for _, prefix := range []string{"", "ops-", "admin-"} {
		args = append(args, "--"+prefix+"tls-cert-file="+server.CertFile, "--"+prefix+"tls-key-file="+server.KeyFile)
	}
	r, public, operations := startServe(t, f.deps(), args...)
	line := r.stderr.waitFor(t, `"serving"`)
	_, admin, _ := strings.Cut(line, `"admin_addr":"`)
	admin, _, _ = strings.Cut(admin, `"`)
	public, operations = strings.Replace(public, "http:", "https:", 1), strings.Replace(operations, "http:", "https:", 1)
	for url, want := range map[string]string{operations: "operations", "https://" + admin: "admin"} {
		if body, proto, err := getTLS(t, ca.client(t, "keytail.example", config.TLSFiles{}), url); err != nil || body != want || proto != 2 {
			t.Errorf("%s: %q over HTTP/%d, %v", want, body, proto, err)
		}
	}
	if body, proto, err := getTLS(t, ca.client(t, "keytail.example", caller), public); err != nil || body != "public" || proto != 2 {
		t.Errorf("with a client's certificate: %q over HTTP/%d, %v", body, proto, err)
	}
	for name, show := range map[string]config.TLSFiles{"none": {}, "a stranger's": stranger} {
		if body, _, err := getTLS(t, ca.client(t, "keytail.example", show), public); err == nil {
			t.Errorf("with %s certificate: %q", name, body)
		}
	}
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"--ops-tls-cert-file=" + server.CertFile, "--ops-tls-key-file=" + server.KeyFile}, exitOK},
		{nil, exitFailure},
	} {
		args := append([]string{"healthcheck", "--ops-addr=" + strings.TrimPrefix(operations, "https://")}, test.args...)
		if code, _, stderr := finish(t, Deps{}, args...); code != test.code {
			t.Errorf("%v: got exit code %d; stderr:\n%s", args, code, stderr)
		}
	}
	if f.cfg.AdminTokenFile != tokenFile {
		t.Errorf("the service got %q", f.cfg.AdminTokenFile)
	}
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
}

// TestHealthcheckVerifiesOtherMachines: only for a loopback address the
// certificate is not verified.
func TestHealthcheckVerifiesOtherMachines(t *testing.T) {
	for address, skips := range map[string]bool{
		"https://127.0.0.1:9090/livez": true, "https://localhost:9090/livez": true, "https://[::1]:9090/livez": true,
		"https://10.0.0.7:9090/livez": false, "https://localhost.example:9090/livez": false,
	} {
		if got := (healthcheckCommand{}).tls(address).InsecureSkipVerify; got != skips {
			t.Errorf("%s: got InsecureSkipVerify %v", address, got)
		}
	}
}

func TestHealthcheckPresentsAClientCertificate(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	files := ca.write(t, filepath.Join(dir, "server"), "keytail.example", time.Now().Add(time.Hour))
	caFile := filepath.Join(dir, "ca.crt")
	writeFile(t, caFile, ca.pem)
	flags := []string{"--ops-tls-cert-file=" + files.CertFile, "--ops-tls-key-file=" + files.KeyFile, "--ops-tls-client-ca-file=" + caFile}
	r, _, operations := startServe(t, newFake().deps(), append(flags, "--drain-delay=0")...)
	args := append([]string{"healthcheck", "--ops-addr=" + strings.TrimPrefix(operations, "http://")}, flags...)
	if code, _, stderr := finish(t, Deps{}, args...); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, stderr)
	}
	if code, _, _ := finish(t, Deps{}, args[:len(args)-1]...); code != exitFailure {
		t.Errorf("without a certificate: got exit code %d", code)
	}
	r.signal(t)
	r.wait(t)
}

func TestWrongFilesAreRefusedAtStart(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	until := time.Now().Add(time.Hour)
	one := ca.write(t, filepath.Join(dir, "one"), "one", until)
	two := ca.write(t, filepath.Join(dir, "two"), "two", until)
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, []byte(content))
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	shared := func(path string) string {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return file("shared.key", string(content), 0o644)
	}
	withUser := "--mongodb-uri=mongodb://keytail@127.0.0.1:1/keys"
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no pair":             {[]string{unreachable, "--tls-cert-file=" + one.CertFile, "--tls-key-file=" + two.KeyFile}, "do not belong together: tls: private key does not match public key"},
		"no certificate":      {[]string{unreachable, "--ops-tls-cert-file=" + one.KeyFile, "--ops-tls-key-file=" + one.KeyFile}, "--ops-tls-cert-file"},
		"no file":             {[]string{unreachable, "--tls-cert-file=" + dir + "/none", "--tls-key-file=" + one.KeyFile}, "no such file"},
		"no authority":        {[]string{unreachable, "--tls-cert-file=" + one.CertFile, "--tls-key-file=" + one.KeyFile, "--tls-client-ca-file=" + one.KeyFile}, "--tls-client-ca-file " + one.KeyFile + " has no certificate in PEM"},
		"duplicate tokens":    {[]string{unreachable, "--caller-token-file=" + file("dup", "a=0123456789abcdef\na=fedcba9876543210\n", 0o600)}, ", line 2: its name is already used in line 1"},
		"tokens for all":      {[]string{unreachable, "--admin-token-file=" + file("all", "a=0123456789abcdef\n", 0o644)}, "chmod o-rwx it"},
		"password for all":    {[]string{withUser, "--mongodb-password-file=" + file("pw-all", "hunter2\n", 0o644)}, "chmod o-rwx it"},
		"two passwords":       {[]string{withUser, "--mongodb-password-file=" + file("pw-two", "hunter2\nhunter2\n", 0o600)}, "must hold one line, the password"},
		"no password":         {[]string{withUser, "--mongodb-password-file=" + file("pw-none", "\n", 0o600)}, "is empty: it must hold the secret"},
		"key for all":         {[]string{unreachable, "--tls-cert-file=" + one.CertFile, "--tls-key-file=" + shared(one.KeyFile)}, "--tls-key-file: every user of this machine has access to"},
		"one token for two":   {[]string{unreachable, "--caller-token-file=" + file("callers", "a=0123456789abcdef\n", 0o600), "--admin-token-file=" + file("admins", "b=0123456789abcdef role=viewer\n", 0o600)}, "every caller would be an administrator"},
		"one file, two names": {[]string{unreachable, "--caller-token-file=" + file("one-name", "a=0123456789abcdef\n", 0o600), "--admin-token-file=" + dir + "/./one-name"}, "are the same file"},
		"config for all":      {[]string{"--config=" + file("config-all", "addr: 127.0.0.1:0\nmongodb_uri: mongodb://u:hunter2@127.0.0.1:1/keys", 0o644)}, "line 2: mongodb_uri has a password, and every user of this machine has access"},
		"policy":              {[]string{unreachable, "--config=" + file("config", "policies: {a: {scopes: ['x y']}}", 0o600)}, "line 1: the policy a: a scope has no white space"},
	} {
		code, _, stderr := finish(t, newFake().deps(), test.args...)
		if code != exitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: got exit code %d, want %q; stderr:\n%s", name, code, test.want, stderr)
		}
		if strings.Contains(stderr, "hunter2") || strings.Contains(stderr, "0123456789abcdef") {
			t.Errorf("%s: prints a secret:\n%s", name, stderr)
		}
	}
}

func TestPasswordOfTheFileReachesTheDriver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	writeFile(t, path, []byte("p@ss:word/%\r\n"))
	for _, uri := range []string{"mongodb://keytail@127.0.0.1:1/keys", "mongodb://keytail@127.0.0.1:1/keys?authMechanism=SCRAM-SHA-256&tls=true"} {
		full, err := databaseURI(&config.Config{MongoDBURI: uri, MongoDBPasswordFile: path})
		if err != nil {
			t.Fatal(err)
		}
		settings, err := mongoclient.ForURI(full)
		if err != nil {
			t.Fatal(err)
		}
		opts := settings.Options
		if opts.Auth.Username != "keytail" || opts.Auth.Password != "p@ss:word/%" {
			t.Errorf("%s: the driver got password %q", uri, opts.Auth.Password)
		}
	}
}

func TestPoliciesReachTheService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keytail.yaml")
	writeFile(t, path, []byte("policies: {orders: {scopes: [orders:read], org_id: acme}}\n"))
	f := newFake()
	r, _, _ := startServe(t, f.deps(), "--drain-delay=0", "--config="+path)
	if got := f.cfg.Policies["orders"]; len(f.cfg.Policies) != 1 || got.OrgID != "acme" || len(got.Scopes) != 1 || got.Scopes[0] != "orders:read" {
		t.Errorf("the service got %v", f.cfg.Policies)
	}
	r.signal(t)
	r.wait(t)
}

// TestCertificatesAreReloaded for new connections. With an invalid certificate the old one
// stays in use, and one log line reports it.
func TestCertificatesAreReloaded(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	until := time.Now().Add(time.Hour)
	files := ca.write(t, filepath.Join(dir, "pair"), "first", until)
	core, logs := observer.New(zap.DebugLevel)
	ticks := make(chan time.Time)
	c, err := newCertificates(config.Listener{Flag: "addr", Prefix: "tls-", TLS: files}, zap.New(core), nil, ticks)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listener{Listener: bound, limit: unlimited(t, bound), name: "public", certificates: c}
	if err := l.handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "public") }), zap.NewNop(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- l.serve() }()
	go func() { ended <- l.follow(ctx) }()
	defer func() {
		stop()
		if err := l.shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	look := func() {
		ticks <- time.Time{} // the second is taken when the first has been worked off
		ticks <- time.Time{}
	}
	want := func(name string) {
		t.Helper()
		if body, _, err := getTLS(t, ca.client(t, name, config.TLSFiles{}), l.url()); err != nil || body != "public" {
			t.Errorf("as %s: %q, %v", name, body, err)
		}
	}
	want("first")
	ca.write(t, filepath.Join(dir, "pair"), "second", until)
	look()
	want("second")

	content, err := os.ReadFile(files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	ca.write(t, filepath.Join(dir, "pair"), "third", until)
	third, err := os.ReadFile(files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, files.KeyFile, content)
	look()
	look()
	want("second")
	if broken := logs.FilterMessageSnippet("cannot be used").All(); len(broken) == 0 || // more than one if a look met a half-written pair
		bytes.Contains([]byte(broken[0].ContextMap()["error"].(string)), content[30:60]) {
		t.Errorf("the invalid certificate: got log %v", broken)
	}
	writeFile(t, files.KeyFile, third)
	look()
	want("third")
}

func TestOldCertificateIsAWarning(t *testing.T) {
	files := newAuthority(t).write(t, filepath.Join(t.TempDir(), "old"), "old", time.Now().Add(-time.Hour))
	core, logs := observer.New(zap.WarnLevel)
	if _, err := newCertificates(config.Listener{Flag: "addr", Prefix: "tls-", TLS: files}, zap.New(core), nil, nil); err != nil {
		t.Fatal(err)
	}
	if logs.FilterMessageSnippet("not valid at this time").Len() != 1 {
		t.Errorf("got log %v", logs.All())
	}
}
