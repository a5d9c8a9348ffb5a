package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/testprogram"
)

// machine is this machine with a layer over its files. What a command changes is in the
// layer, and gone after the test. systemd appears to run; a systemctl that does nothing
// writes down what it was asked.
type machine struct {
	t     *testing.T
	layer string
}

const (
	// enter runs "$@" below the layer in $LAYER.
	enter = `mount -t overlay overlay -o "lowerdir=/,upperdir=$LAYER/upper,workdir=$LAYER/work" "$LAYER/root"
mount --rbind /dev "$LAYER/root/dev"
mount -t proc proc "$LAYER/root/proc"
exec chroot "$LAYER/root" "$@"`

	// prepare stages systemd. The user must not exist before the installation.
	prepare = `mkdir -p /run/systemd/system
rm /usr/bin/systemctl
printf '#!/bin/sh\necho "$@" >>/systemctl.log\n' >/usr/bin/systemctl
chmod +x /usr/bin/systemctl
: >/systemctl.log
! getent passwd keytail`
)

func newMachine(t *testing.T) machine {
	t.Helper()
	if os.Geteuid() != 0 {
		testprogram.SkipIfMissing(t, feature, testprogram.ErrMissing)
	}
	m := machine{t, t.TempDir()}
	for _, folder := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(m.layer, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.run(prepare)
	return m
}

// try runs a shell script on the machine.
func (m machine) try(script string, args ...string) (string, error) {
	cmd := exec.CommandContext(m.t.Context(), "unshare", append([]string{
		"--mount", "--propagation", "private", "sh", "-euc", enter, "sh", "sh", "-euc", script, "sh",
	}, args...)...)
	cmd.Env = []string{"LAYER=" + m.layer, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try with a script that must succeed.
func (m machine) run(script string, args ...string) string {
	m.t.Helper()
	out, err := m.try(script, args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// systemctl returns what systemctl was asked since the last call, separated by semicolons.
func (m machine) systemctl() string {
	m.t.Helper()
	return strings.ReplaceAll(strings.TrimSpace(m.run("cat /systemctl.log; : >/systemctl.log")), "\n", "; ")
}

// put copies a file into the machine's / and returns its path there.
func (m machine) put(path string) string {
	m.t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(filepath.Join(m.layer, "upper", filepath.Base(path)), content, 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return "/" + filepath.Base(path)
}
