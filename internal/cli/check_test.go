package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// histories are the published ones.
const histories = "../../testdata/histories/"

func TestCheckSaysByItsExitCodeWhatItFound(t *testing.T) {
	decisions, writes := "--decisions="+histories+"decisions.jsonl", "--writes="+histories+"writes.jsonl"
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"it passes":         {[]string{histories + "nemesis.jsonl"}, exitOK, "no answer of 459 breaks a promise"},
		"it lies":           {[]string{histories + "without-a-guard.jsonl"}, exitFailure, "10 of 205 answers break a promise"},
		"decision logs":     {[]string{decisions, writes, "--clock-uncertainty=5ms"}, exitOK, "no answer of 572 breaks a promise"},
		"no file":           {[]string{"none.jsonl"}, exitUsage, "none.jsonl"},
		"another file":      {[]string{histories + "README.md"}, exitUsage, "README.md: line 1: it is not a JSON object on one line"},
		"nothing":           {nil, exitUsage, "name a history, or --decisions and --writes"},
		"both":              {[]string{histories + "nemesis.jsonl", decisions, writes}, exitUsage, "give either a file, or --decisions and --writes"},
		"no writes":         {[]string{decisions}, exitUsage, "--decisions needs --writes"},
		"writes alone":      {[]string{writes}, exitUsage, "name a history, or --decisions and --writes"},
		"a bound of a file": {[]string{histories + "nemesis.jsonl", "--max-stale=1s"}, exitUsage, "--max-stale belongs to --decisions"},
		"a line alone":      {[]string{histories + "nemesis.jsonl", "--plot-line=3"}, exitUsage, "--plot-line belongs to --plot"},
		"a negative bound":  {[]string{decisions, writes, "--max-stale=-1s"}, exitUsage, "must not be negative"},
	} {
		code, stdout, stderr := finish(t, Deps{}, append([]string{"check"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: got exit code %d, want %d and %q\n%s%s", name, code, c.code, c.want, stdout, stderr)
		}
	}
}

// TestAnInterruptedCheckHasFoundNothing: its exit code is not that of a broken promise.
func TestAnInterruptedCheckHasFoundNothing(t *testing.T) {
	whole, err := os.ReadFile(histories + "nemesis.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "long.jsonl")
	if err := os.WriteFile(file, append(whole, strings.Repeat("\n"+`{"type":"clock","at":"2026-11-30T12:00:00Z"}`, 5000)...), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var stdout, stderr strings.Builder
	code := (&checkCommand{File: file}).run(ctx, process{stdout: &stdout, stderr: &stderr}, nil)
	if code != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), "interrupted: nothing was judged") {
		t.Errorf("exit code %d, %s%s", code, &stdout, &stderr)
	}
}

func TestCheckForScripts(t *testing.T) {
	code, stdout, stderr := finish(t, Deps{}, "check", histories+"without-a-guard.jsonl", "--output", "json")
	var report struct {
		OK         bool `json:"ok"`
		Wrong      int  `json:"wrong_answers"`
		Violations []struct {
			Line   int
			Broken []struct{ Rule, Why string }
			Writes []struct{ Line int }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitFailure || stderr != "" {
		t.Fatalf("exit code %d, %v, %s", code, err, stderr)
	}
	if report.OK || report.Wrong != 10 || len(report.Violations) != 10 {
		t.Fatalf("%+v", report)
	}
	v := report.Violations[0]
	if v.Line != 77 || len(v.Broken) != 1 || v.Broken[0].Rule != "reported staleness" || len(v.Writes) != 2 || v.Writes[1].Line != 67 {
		t.Errorf("%+v", v)
	}
}

func TestCheckDrawsAViolation(t *testing.T) {
	lying, first, tenth, none := histories+"without-a-guard.jsonl", filepath.Join(t.TempDir(), "1.svg"), filepath.Join(t.TempDir(), "10.svg"), filepath.Join(t.TempDir(), "none.svg")
	for name, c := range map[string]struct {
		args         []string
		code         int
		stderr, file string
		title        string
	}{
		"the first":    {[]string{lying, "--plot", first}, exitFailure, "", first, "line 77: instance-0 was VALID for key-49a"},
		"of a line":    {[]string{lying, "--plot", tenth, "--plot-line", "275"}, exitFailure, "", tenth, "line 275: instance-0 was DISABLED for key-22a"},
		"of no line":   {[]string{lying, "--plot", none, "--plot-line", "3"}, exitUsage, "no answer on line 3 is among the violations", "", ""},
		"no violation": {[]string{histories + "nemesis.jsonl", "--plot", none}, exitOK, "there is no violation", "", ""},
		"no directory": {[]string{lying, "--plot", filepath.Join(none, "x.svg")}, exitUsage, "--plot: open ", "", ""},
	} {
		code, _, stderr := finish(t, Deps{}, append([]string{"check"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.stderr) || c.stderr == "" && stderr != "" {
			t.Errorf("%s: got exit code %d, %s", name, code, stderr)
		}
		if c.file == "" {
			continue
		}
		if picture, err := os.ReadFile(c.file); err != nil || !strings.Contains(string(picture), "<title>"+c.title) {
			t.Errorf("%s: %v\n%.400s", name, err, picture)
		}
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a picture of nothing is written")
	}
}

// TestAPictureDoesNotReplaceTheEvidence: a history cannot be recorded again.
func TestAPictureDoesNotReplaceTheEvidence(t *testing.T) {
	whole, err := os.ReadFile(histories + "without-a-guard.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "history.jsonl")
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{name}, {"--decisions", histories + "decisions.jsonl", "--writes", name}, {"--decisions", name, "--writes", histories + "writes.jsonl"}} {
		code, _, stderr := finish(t, Deps{}, append([]string{"check", "--plot", name}, args...)...)
		if after, err := os.ReadFile(name); code != exitUsage || !strings.Contains(stderr, "--plot would overwrite "+name) || err != nil || string(after) != string(whole) {
			t.Errorf("%v: exit code %d, %d bytes are left, %s", args, code, len(after), stderr)
		}
	}
}
