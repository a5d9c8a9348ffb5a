package testprogram

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRequiredReadsAListAndRejectsUnknownNames(t *testing.T) {
	t.Setenv(RequireVariable, " devmongo, secantus,")
	if got, err := Required(); err != nil || strings.Join(got, " ") != "devmongo secantus" {
		t.Errorf("got %v, %v", got, err)
	}
	t.Setenv(RequireVariable, "devmogno")
	if _, err := Required(); err == nil {
		t.Error("a misspelled name was accepted")
	}
}

func TestFindPrefersTheVariable(t *testing.T) {
	const variable = "KEYTAIL_TEST_SOME_PROGRAM"
	p := Program{Name: "some program", Variable: variable, Places: []string{"", "/nonexistent/program"}, Install: "install it"}
	if _, err := Find(p); !errors.Is(err, ErrMissing) {
		t.Errorf("in no place: got %v, want ErrMissing", err)
	}
	p.Places = append(p.Places, "sh")
	if path, err := Find(p); err != nil || !strings.HasSuffix(path, "/sh") {
		t.Errorf("on PATH: got %q, %v", path, err)
	}
	t.Setenv(variable, "/nonexistent/program")
	if _, err := Find(p); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrMissing) {
		t.Errorf("a wrong path in %s: got %v, want a failure that cannot be skipped", variable, err)
	}
}

func TestLogIsAwaited(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := Start("sh", []string{"-c", "echo ready at 42; exec sleep 600"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if got, err := p.AwaitLog(ctx, regexp.MustCompile(`ready at (\d+)`)); err != nil || got != "42" {
		t.Errorf("got %q, %v", got, err)
	}
	p.Kill()
	if _, err := p.AwaitLog(ctx, regexp.MustCompile(`(never)`)); !errors.Is(err, ErrExited) || !strings.Contains(p.LogTail(), "ready") {
		t.Errorf("got %v and log %q, want ErrExited", err, p.LogTail())
	}
}
