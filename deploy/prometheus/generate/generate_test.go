package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-jsonnet"
)

// TestFilesAreCurrent: they are what is installed, and the mixin is what is changed.
func TestFilesAreCurrent(t *testing.T) {
	t.Parallel()
	files, err := renderAll()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != string(want) {
			t.Errorf("%s differs from what the mixin makes; write it anew with\n\n\tgo -C deploy/prometheus/generate run .", name)
		}
	}
}

// TestMixinHasTheDashboard, for those who install all of it with jsonnet.
func TestMixinHasTheDashboard(t *testing.T) {
	t.Parallel()
	uid, err := jsonnet.MakeVM().EvaluateAnonymousSnippet("test", "(import '"+mixinFile+"').grafanaDashboards['keytail.json'].uid")
	if err != nil || uid != "\"keytail\"\n" {
		t.Errorf("got %q, %v", uid, err)
	}
}

// TestRehearsalHasTheSameRules with shorter times.
func TestRehearsalHasTheSameRules(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := run([]string{"-o", folder, "-times-divided-by", "20"}); err != nil {
		t.Fatal(err)
	}
	whole, err := evaluate("prometheusAlerts", "")
	if err != nil {
		t.Fatal(err)
	}
	short, err := evaluate("prometheusAlerts", "timesDividedBy: 20")
	if err != nil {
		t.Fatal(err)
	}
	for i, group := range whole.Groups {
		for j, rule := range group.Rules {
			other := short.Groups[i].Rules[j]
			if other.Alert != rule.Alert || (rule.For != "" && other.For == rule.For) {
				t.Errorf("%s for %q is %s for %q in a rehearsal", rule.Alert, rule.For, other.Alert, other.For)
			}
		}
	}
	if err := run([]string{"-times-divided-by", "20"}); err == nil {
		t.Error("the files of the repository may have the times of a rehearsal")
	}
}
