package deploy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/keytail/keytail/internal/cli"
	"github.com/keytail/keytail/internal/mongotest"
)

// uriOfFile and passwordOfFile are the settings that a test server has otherwise.
var (
	uriOfFile      = regexp.MustCompile(`(?m)^mongodb_uri: (\S+)$`)
	passwordOfFile = regexp.MustCompile(`(?m)^mongodb_password_file: .*$`)
	addrOfFile     = regexp.MustCompile(`(?m)^(\w*addr: \S*):\d+$`)
)

// TestHardenedProfileStarts with real certificates and a server, and without a warning.
func TestHardenedProfileStarts(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.MongoDBTokens)
		for name, listeners := range map[string][]string{
			"keytail.yaml": {"addr", "ops_addr"},
			"admin.yaml":   {"addr", "ops_addr", "admin_addr"},
		} {
			t.Run(name, func(t *testing.T) {
				content, err := os.ReadFile(filepath.Join("hardened", name))
				if err != nil {
					t.Fatal(err)
				}
				log := serveHardened(t, s, string(content))
				for line := range strings.Lines(log) {
					if !strings.HasPrefix(line, `{"level":"info"`) {
						t.Errorf("the log has %s", line)
					}
				}
				for _, listener := range listeners {
					if !strings.Contains(log, `"`+listener+`":"`) {
						t.Errorf("%s is not served:\n%s", listener, log)
					}
				}
				if strings.Contains(log, "admin_addr") != slices.Contains(listeners, "admin_addr") {
					t.Error("the admin listener is not where it should be")
				}
			})
		}
	})
}

// TestHardenedProfileEncrypts the path to MongoDB.
func TestHardenedProfileEncrypts(t *testing.T) {
	for _, name := range []string{"keytail.yaml", "admin.yaml"} {
		content, err := os.ReadFile(filepath.Join("hardened", name))
		if err != nil {
			t.Fatal(err)
		}
		m := uriOfFile.FindStringSubmatch(string(content))
		if m == nil || !strings.Contains(m[1], "&tls=true&tlsCAFile=") || !passwordOfFile.Match(content) {
			t.Errorf("%s: the URI is %q", name, m)
		}
	}
}

// TestHardenedProfileInKubernetes: the values for the chart are the same profile, but for
// what they say themselves.
func TestHardenedProfileInKubernetes(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("hardened/keytail.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal(bytes.ReplaceAll(content, []byte("/etc/keytail/"), []byte("/run/secrets/keytail/")), &want); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"addr", "ops_addr", "ops_tls_client_ca_file"} {
		delete(want, setting)
	}
	if content, err = os.ReadFile("hardened/values.yaml"); err != nil {
		t.Fatal(err)
	}
	var values struct{ Config map[string]any }
	if err := yaml.Unmarshal(content, &values); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, values.Config); diff != "" {
		t.Errorf("hardened/values.yaml (-keytail.yaml +values.yaml):\n%s", diff)
	}
}

// serveHardened runs keytail with a configuration until it is live, and returns its log.
func serveHardened(t *testing.T, s *mongotest.Server, content string) string {
	t.Helper()
	dir := t.TempDir()
	certificate, key := selfSigned(t)
	for _, m := range secretFile.FindAllStringSubmatch(passwordOfFile.ReplaceAllString(content, ""), -1) {
		text := certificate
		switch {
		case strings.HasSuffix(m[1], "key_file"):
			text = key
		case m[1] == "caller_token_file":
			text = []byte("orders=" + strings.Repeat("t", 40) + "\n")
		case m[1] == "admin_token_file":
			text = []byte("ann role=admin san=spiffe://example.org/ann\n")
		}
		path := filepath.Join(dir, filepath.Base(m[2]))
		if err := os.WriteFile(path, text, 0o440); err != nil {
			t.Fatal(err)
		}
		content = strings.ReplaceAll(content, m[2], path)
	}
	keys, state := s.Database(t), s.Database(t)
	content = uriOfFile.ReplaceAllLiteralString(content, "mongodb_uri: "+s.URI+"\ndatabase: "+keys)
	content = passwordOfFile.ReplaceAllString(content, "")
	content = strings.ReplaceAll(content, "state_database: keytail_state", "state_database: "+state)
	content = addrOfFile.ReplaceAllString(content, "$1:0")
	file := filepath.Join(dir, "keytail.yaml")
	if err := os.WriteFile(file, []byte(content), 0o440); err != nil {
		t.Fatal(err)
	}
	log := &stoppingLog{until: `"msg":"serving"`}
	// The schema is created before: the profile's user may not.
	if code := cli.Main([]string{"serve", "--config", file, "--drain-delay=0", "--ensure-schema"}, log, log, cli.Deps{}); code != 0 || !log.seen {
		t.Fatalf("keytail ends with %d:\n%s", code, &log.content)
	}
	return log.content.String()
}

// stoppingLog interrupts this process, which stops keytail, once the log has a text.
type stoppingLog struct {
	mutex   sync.Mutex
	content bytes.Buffer
	until   string
	seen    bool
}

func (l *stoppingLog) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if !l.seen && bytes.Contains(p, []byte(l.until)) {
		l.seen = true
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Signal(os.Interrupt)
		}
		if err != nil {
			return 0, err
		}
	}
	return l.content.Write(p)
}

// selfSigned is a certificate, which is its own CA, and its key, in PEM.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"keytail.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}
