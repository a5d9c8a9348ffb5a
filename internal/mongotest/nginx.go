package mongotest

import (
	"fmt"
	"os/exec"
	"testing"
)

// NameNginx is no server of MongoDB's, but as easily missing as one: tests of
// rolling restarts need it, and KEYTAIL_TEST_REQUIRE can insist on it.
const NameNginx = "nginx"

// Nginx is the path of the nginx binary. It skips t when there is none, unless
// it is required.
func Nginx(t testing.TB) string {
	t.Helper()
	// Debian's is where an ordinary user's PATH does not look.
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	skipIfMissing(t, NameNginx, fmt.Errorf("%w: no nginx on the PATH or in /usr/sbin; apt-get install nginx-light", errMissing))
	panic("unreachable")
}
