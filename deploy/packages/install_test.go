package packages

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// format is what differs between the two kinds of packages. The commands have the path
// of the package as $1. purge is empty where there is no such command.
type format struct {
	install, again, remove, purge, query string
	file                                 func(release) string
	// zsh is the directory of its completions.
	zsh string
	// license is the file with keytail's license.
	license string
	// afterRemoval is the configuration that the user has changed.
	afterRemoval string
}

var formats = map[string]format{
	"deb": {
		install: "dpkg --force-unsafe-io --install $1", again: "dpkg --force-unsafe-io --install $1", remove: "dpkg --remove keytail", purge: "dpkg --purge keytail", query: "dpkg --listfiles keytail",
		file: release.deb, zsh: "/usr/share/zsh/vendor-completions", license: "/usr/share/doc/keytail/copyright", afterRemoval: "/etc/keytail/keytail.yaml",
	},
	// Debian's rpm knows no other package, so systemd is not there for it.
	"rpm": {
		install: "rpm --install --nodeps --force-debian $1", again: "rpm --upgrade --force --nodeps --force-debian $1",
		remove: "rpm --erase --force-debian keytail", query: "rpm --query --list keytail",
		file: release.rpm, zsh: "/usr/share/zsh/site-functions", license: "/usr/share/licenses/keytail/LICENSE", afterRemoval: "/etc/keytail/keytail.yaml.rpmsave",
	},
}

// files are what both formats install, with owner and mode.
func (f format) files() map[string]string {
	return map[string]string{
		"/usr/bin/keytail":                                  "root:root 755",
		"/usr/lib/systemd/system/keytail.service":           "root:root 644",
		"/usr/lib/sysusers.d/keytail.conf":                  "root:root 644",
		"/usr/lib/tmpfiles.d/keytail.conf":                  "root:root 644",
		"/etc/keytail":                                      "root:keytail 750",
		"/etc/keytail/keytail.yaml":                         "root:keytail 640",
		"/usr/share/bash-completion/completions/keytail":    "root:root 644",
		"/usr/share/fish/vendor_completions.d/keytail.fish": "root:root 644",
		f.zsh + "/_keytail":                                 "root:root 644",
		f.license:                                           "root:root 644",
		"/usr/share/doc/keytail/licenses.txt":               "root:root 644",
		"/usr/share/doc/keytail/changelog":                  "root:root 644",
	}
}

// TestPackages installs, upgrades and removes both.
func TestPackages(t *testing.T) {
	r := built(t)
	program(t, "rpm", "rpm")
	for name, f := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			path := m.put(r.path(f.file(r)))
			installed(t, m, f, m.run(f.install, path))
			if got, want := m.run("sha256sum /usr/bin/keytail"), sum(t, r.binary(t, "linux_amd64")); !strings.HasPrefix(got, want) {
				t.Errorf("the package has another binary than %s", want)
			}
			upgraded(t, m, m.run(changeConfiguration+f.again, path))
			removed(t, m, f)
		})
	}
}

// installed checks a first installation, which printed out.
func installed(t *testing.T, m machine, f format, out string) {
	t.Helper()
	if !strings.Contains(out, "keytail is installed and not started") {
		t.Errorf("the installation does not say what to do next:\n%s", out)
	}
	if got := m.systemctl(); got != "daemon-reload; --no-block try-restart keytail.service" {
		t.Errorf("the installation called systemctl: %s", got)
	}
	got := map[string]string{}
	for line := range strings.Lines(m.run(f.query + " | while read -r file; do stat --format '%n %U:%G %a' \"$file\"; done")) {
		path, mode, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[path] = mode
	}
	want := f.files()
	for path, mode := range got {
		if strings.HasSuffix(mode, "root:root 755") && want[path] == "" {
			delete(got, path) // dpkg lists the directories above, too
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("installed files (-want +got):\n%s", diff)
	}
	if got := m.run("getent passwd keytail"); !strings.HasSuffix(strings.TrimSpace(got), ":/nonexistent:/usr/sbin/nologin") {
		t.Errorf("the user is %s", got)
	}
	m.run("setpriv --reuid=keytail --regid=keytail --clear-groups cat /etc/keytail/keytail.yaml")
	if out, err := m.try("setpriv --reuid=nobody --regid=nogroup --clear-groups cat /etc/keytail/keytail.yaml"); err == nil {
		t.Errorf("everybody can read the configuration:\n%s", out)
	}
	if out, err := m.try("systemd-analyze verify --recursive-errors=no keytail.service"); err != nil || strings.Contains(out, "keytail") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out := m.run("bash -c 'source /usr/share/bash-completion/completions/keytail && complete -p keytail'"); !strings.Contains(out, "-C 'keytail' keytail") {
		t.Errorf("the completion of bash is %q", out)
	}
}

// changeConfiguration is what an administrator does between two installations.
const changeConfiguration = "echo 'log_level: debug' >>/etc/keytail/keytail.yaml; "

// upgraded checks that a second installation, which printed out, keeps the configuration.
func upgraded(t *testing.T, m machine, out string) {
	t.Helper()
	if strings.Contains(out, "is installed and not started") {
		t.Errorf("an upgrade speaks as an installation does:\n%s", out)
	}
	if got := m.systemctl(); got != "daemon-reload; --no-block try-restart keytail.service" {
		t.Errorf("the upgrade called systemctl: %s", got)
	}
	if got := m.run("tail -n 1 /etc/keytail/keytail.yaml; stat --format '%U:%G %a' /etc/keytail /etc/keytail/keytail.yaml"); got != "log_level: debug\nroot:keytail 750\nroot:keytail 640\n" {
		t.Errorf("after the upgrade the configuration ends with, and has owners and modes:\n%s", got)
	}
}

// removed removes the package and checks what is left.
func removed(t *testing.T, m machine, f format) {
	t.Helper()
	m.run(f.remove)
	if got := m.systemctl(); got != "disable --now keytail.service; daemon-reload" {
		t.Errorf("the removal called systemctl: %s", got)
	}
	m.run("! test -e /usr/bin/keytail && tail -n 1 " + f.afterRemoval + " | grep debug")
	if f.purge != "" {
		m.run(f.purge + " && ! test -e /etc/keytail")
	}
}
