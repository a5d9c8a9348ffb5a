package cli

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestTheAdminTokenIsNotSentToThePublicListener(t *testing.T) {
	f := newFakeDaemon(t)
	f.hold = func(r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("verify sent %q", got)
		}
	}
	if code, _, stderr := finish(t, depsWithStdin("kt_asked"), "verify"); code != exitOK {
		t.Error(stderr)
	}
}

// TestReadToken reads a file with a token, or a token file of serve with a single line.
func TestReadToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for content, want := range map[string]string{
		adminToken + "\n":                 adminToken,
		"# mine\n\n  " + adminToken + " ": adminToken,
		"ops=" + adminToken:               adminToken,
		"ops=" + adminToken + " role=admin user_id=u/1 expires=2027-01-01T00:00:00Z": adminToken,
		"ops=" + adminToken + " a comment":                                           "",
		"c2hvcnQgdG9rZW4gaW4gYmFzZTY0Cg==":                                           "c2hvcnQgdG9rZW4gaW4gYmFzZTY0Cg==",
		"":                                                                           "",
		"ops=" + adminToken + "\nother=" + adminToken:                                "",
		"two words":                                                                  "",
		"umlaut-ä-0123456789":                                                        "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readToken(path, envToken)
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), adminToken) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readToken(path, envToken); err == nil || !strings.Contains(err.Error(), "chmod o-rwx") {
		t.Errorf("a readable file: got error %v", err)
	}
	t.Setenv(envToken, adminToken+"\nx")
	if got, err := readToken("", envToken); err == nil || strings.Contains(err.Error(), adminToken) {
		t.Errorf("two lines: got %q, %v", got, err)
	}
}

func TestTheTokenOfAFileIsSent(t *testing.T) {
	newFakeDaemon(t)
	t.Setenv(envToken, "another-token-of-the-environment")
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("ops="+adminToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := finish(t, Deps{}, "instances", "--token-file", path); code != exitOK {
		t.Error(stderr)
	}
	if code, _, stderr := finish(t, Deps{}, "instances"); code != exitFailure || !strings.Contains(stderr, "does not accept this token") || strings.Contains(stderr, "another-token") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
	t.Setenv(envToken, "")
	if code, _, stderr := finish(t, Deps{}, "instances"); code != exitUsage || !strings.Contains(stderr, "no admin token is given") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
}

// TestTLS: a server with a private CA that requires a client certificate.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	writeFile(t, dir+"/ca.pem", ca.pem)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	own := ca.write(t, dir+"/pair", "localhost", time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(own.CertFile, own.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeDaemon{responses: map[string]fakeResponse{}}
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Setenv(envToken, adminToken)
	t.Setenv("KEYTAIL_ADMIN_URL", strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	files := []string{"--ca-file=" + dir + "/ca.pem", "--client-cert-file=" + own.CertFile, "--client-key-file=" + own.KeyFile}
	for name, test := range map[string]struct {
		flags  []string
		code   int
		stderr string
	}{
		"all":            {files, exitOK, ""},
		"unknown":        {files[1:], exitFailure, "is not trusted: add the CA certificate that signed it"},
		"no certificate": {files[:1], exitFailure, "certificate required"},
		"plain":          {append(slices.Clone(files), "--admin-url=http://"+server.Listener.Addr().String()), exitFailure, "answers 400 Bad Request"},
	} {
		code, _, stderr := finish(t, Deps{}, append([]string{"instances"}, test.flags...)...)
		if code != test.code || !strings.Contains(stderr, test.stderr) {
			t.Errorf("%s: got exit code %d, %s", name, code, stderr)
		}
	}
	plain := newFakeDaemon(t)
	code, _, stderr := finish(t, Deps{}, "instances", "--admin-url=https://"+plain.Listener.Addr().String())
	if code != exitFailure || !strings.Contains(stderr, "does not speak TLS") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
}

// TestPlainConnectionsToAnotherMachineAreWarnedOf: 0.0.0.0 is not a loopback address, and
// reaches this machine.
func TestPlainConnectionsToAnotherMachineAreWarnedOf(t *testing.T) {
	const key = "kt_secret-key-text"
	elsewhere := strings.Replace(mongotest.StartDevmongo(t, devmongo.Config{}).URI, "127.0.0.1", "0.0.0.0", 1)
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a key":         {[]string{"verify", "--url=http://0.0.0.0:1"}, exitFailure, "the key crosses the network unencrypted"},
		"a key, https":  {[]string{"verify", "--url=https://0.0.0.0:1"}, exitFailure, "connection refused"},
		"MongoDB":       {[]string{"doctor", "--mongodb-uri=" + elsewhere, "--database=app"}, exitFailure, "connects to another machine without TLS"},
		"MongoDB, read": {[]string{"doctor", "--propose", "--mongodb-uri=" + elsewhere, "--database=app"}, exitFailure, "connects to another machine without TLS"},
	} {
		code, stdout, stderr := finish(t, Deps{Stdin: strings.NewReader(key + "\n")}, test.args...)
		if all := stdout + stderr; code != test.code || !strings.Contains(all, test.want) || strings.Contains(all, key) {
			t.Errorf("%s: exit code %d, %s%s", name, code, stdout, stderr)
		}
		if strings.Contains(name, "https") && strings.Contains(stderr, "unencrypted") {
			t.Errorf("%s: %s", name, stderr)
		}
	}
}
