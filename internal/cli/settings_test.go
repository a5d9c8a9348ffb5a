package cli

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheStatusShowsNoSecret: the settings that the status page and /v1/status show have
// neither the password of the connection string nor the content of a file.
func TestTheStatusShowsNoSecret(t *testing.T) {
	f := newFake()
	secrets := map[string]string{
		"password": "s3cret-of-the-uri", "admin": "admin-token-0123456789", "caller": "caller-token-0123456789", "pepper": "pepper-0123456789abcdef",
	}
	args := []string{
		"--mongodb-uri=mongodb://ann:" + secrets["password"] + "@127.0.0.1:1/keys?tlsCertificateKeyFilePassword=" + secrets["password"] + "&serverSelectionTimeoutMS=1000",
		"--admin-token-file=" + writeSecret(t, "ann="+secrets["admin"]+" role=admin\n", 0o600), "--admin-addr=127.0.0.1:0",
		"--caller-token-file=" + writeSecret(t, "web="+secrets["caller"]+"\n", 0o600),
		"--map-hash-algorithm=hmac-sha256", "--map-hash-secret-file=" + writeSecret(t, secrets["pepper"]+"\n", 0o600),
		"--drain-delay=0",
	}
	r, _, _ := startServe(t, f.deps(), args...)
	shown := fmt.Sprintf("%+v", f.cfg.Settings)
	for name, secret := range secrets {
		if strings.Contains(shown, secret) {
			t.Errorf("the settings show the %s: %s", name, shown)
		}
	}
	for _, want := range []string{"Name:mongodb-uri Value:mongodb://127.0.0.1:1/keys?", "Name:drain-delay Value:0s Given:true", "Name:max-stale Value:15s Given:false"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the settings lack %q: %s", want, shown)
		}
	}
	r.signal(t)
	r.wait(t)
}
