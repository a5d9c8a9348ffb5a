package cli

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCompletionScripts: each installed shell can read its script.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, stdout, stderr := finish(t, Deps{}, "completion", shell)
		if code != exitOK || !strings.Contains(stdout, "keytail completion for "+shell) || stderr != "" {
			t.Errorf("%s: got exit code %d, %s%s", shell, code, stdout, stderr)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not installed", shell)
			continue
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(stdout)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// TestCompletion tests the completions that a shell receives.
func TestCompletion(t *testing.T) {
	for line, want := range map[string][]string{
		"keytail keys r":                {"revoke", "rotate"},
		"keytail keys list --output ":   {"json", "table"},
		"keytail keys revoke --wait=f":  {"fleet"},
		"keytail completion ":           {"bash", "fish", "zsh"},
		"keytail keys create --user":    {"--user-id"},
		"keytail key":                   {"keys"},
		"keytail keys list --nonsense=": nil,
	} {
		t.Setenv("COMP_LINE", line)
		t.Setenv("COMP_POINT", fmt.Sprint(len(line)))
		code, stdout, stderr := finish(t, Deps{}, "keytail", "", "")
		got := strings.Fields(stdout)
		slices.Sort(got)
		if code != exitOK || !slices.Equal(got, want) || stderr != "" {
			t.Errorf("%q: got exit code %d, %q, %s", line, code, got, stderr)
		}
	}
}
