package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/testprogram"
)

const (
	unitFile = "systemd/keytail.service"
	// worstExposure is the score of systemd-analyze security, times ten, of 0 to 100. The
	// unit has 12: keytail needs the network.
	worstExposure = "15"
)

// systemdAnalyze runs systemd-analyze with the unit, whose programs are replaced by one
// that is on this machine.
func systemdAnalyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := testprogram.Find(testprogram.Program{Name: "systemd-analyze", Places: []string{"systemd-analyze"}, Install: "apt-get install systemd"})
	testprogram.SkipIfMissing(t, "systemd", err)
	unit, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keytail.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(unit), "/usr/bin/keytail ", os.Args[0]+" ")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, append(args, file)...).CombinedOutput()
	return string(out), err
}

// TestUnitVerifies: every setting is one of systemd's, and every program exists. Lines
// about units of this machine do not count.
func TestUnitVerifies(t *testing.T) {
	t.Parallel()
	if out, err := systemdAnalyze(t, "verify", "--recursive-errors=no"); err != nil || strings.Contains(out, "keytail") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUnitIsConfined by its score, of which each sandboxing setting is a part.
func TestUnitIsConfined(t *testing.T) {
	t.Parallel()
	if out, err := systemdAnalyze(t, "security", "--offline=true", "--no-pager", "--threshold="+worstExposure); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// unit are the settings of the unit. The values of one that is repeated are separated
// by spaces.
func unit(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(content), -1) {
		settings[m[1]] = strings.TrimSpace(settings[m[1]] + " " + m[2])
	}
	return settings
}

// TestUnitStarts runs the command of the unit with the file beside it.
func TestUnitStarts(t *testing.T) {
	file, err := os.ReadFile("systemd/keytail.yaml")
	if err != nil {
		t.Fatal(err)
	}
	settings, environment := unit(t), map[string]string{}
	for _, variable := range strings.Fields(settings["Environment"]) {
		name, value, _ := strings.Cut(variable, "=")
		environment[name] = value
	}
	args := strings.Fields(settings["ExecStart"])[1:]
	got := startUntilService(t, args, environment, map[string]string{"/etc/keytail/keytail.yaml": string(file)})
	checkMemory(t, got.CacheSizeMiB, mebibytes(t, settings["MemoryMax"]), mebibytes(t, environment["GOMEMLIMIT"]))
	if settings["RestartPreventExitStatus"] != "2" || environment["GOTRACEBACK"] != "crash" {
		t.Error("a wrong configuration ends with the exit code 2, and so does a crash, which must be restarted, without GOTRACEBACK=crash")
	}
}

// TestUnitFitsTheProgram: what systemd expects is what keytail does.
func TestUnitFitsTheProgram(t *testing.T) {
	t.Parallel()
	settings := unit(t)
	for name, want := range map[string]string{
		"Type":       "notify",
		"ProcSubset": "", // net.core.somaxconn must be readable
		// docs/logs.md has the decision log there. All else is read-only, which that does not change.
		"LogsDirectory": "keytail",
		"ProtectSystem": "strict",
	} {
		if settings[name] != want {
			t.Errorf("%s is %q, want %q", name, settings[name], want)
		}
	}
	if !strings.Contains(settings["RestrictAddressFamilies"], "AF_UNIX") {
		t.Error("notifications need AF_UNIX")
	}
	if got := drainDefault(t) + requestsInFlight; seconds(t, settings["TimeoutStopSec"]) <= got {
		t.Errorf("TimeoutStopSec is %s, and keytail may need %v to stop", settings["TimeoutStopSec"], got)
	}
}

// requestsInFlight is how long keytail waits for them when it stops (ARCHITECTURE.md).
const requestsInFlight = 15 * time.Second

func seconds(t *testing.T, text string) time.Duration {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Second
}

// drainDefault is the default of --drain-delay.
func drainDefault(t *testing.T) time.Duration {
	t.Helper()
	var grammar struct{ config.Config }
	parser, err := config.NewParser(&grammar)
	if err == nil {
		_, _, err = parser.Parse(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return grammar.DrainDelay
}
