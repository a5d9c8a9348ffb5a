package tokens

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/reload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tokenA = "aaaaaaaaaaaaaaaa-of-web"
	tokenB = "bbbbbbbbbbbbbbbb-of-batch="
)

// write puts the file there immediately: a look may be in progress.
func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	unfinished := path + ".unfinished"
	inPlace(t, unfinished, content, mode)
	if err := os.Rename(unfinished, path); err != nil {
		t.Fatal(err)
	}
}

func inPlace(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, content string, mode os.FileMode) (*Set, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, content, mode)
	s, err := New(Config{Path: path, Flag: "caller-token-file", Listener: "public"})
	return s, path, err
}

func TestNames(t *testing.T) {
	t.Parallel()
	s, _, err := open(t, "# who\n\nweb="+tokenA+"\r\n  batch-2="+tokenB+"\n", 0o640)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{
		tokenA: "web", tokenB: "batch-2", "": "", tokenA[1:]: "", tokenA + "x": "", "web": "", "web=" + tokenA: "",
	} {
		if name, known := s.Name(token); name != want || known != (want != "") {
			t.Errorf("%q is %q, %v; want %q", token, name, known, want)
		}
	}
}

func TestInvalidFilesAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"duplicate name":   {"web=" + tokenA + "\nweb=" + tokenB, 0o600, ", line 2: its name is already used in line 1"},
		"duplicate token":  {"web=" + tokenA + "\n\nbatch=" + tokenA, 0o600, ", line 3: it has the same token as line 1"},
		"everyone reads":   {"web=" + tokenA, 0o604, "chmod o-rwx it"},
		"everyone writes":  {"web=" + tokenA, 0o602, "chmod o-rwx it"},
		"short":            {"web=" + tokenA[:15], 0o600, ", line 1: the token after name= must have 16 to 512 printable ASCII characters"},
		"space":            {"web=" + tokenA + " " + tokenA, 0o600, "no spaces"},
		"not ASCII":        {"web=" + tokenA + "é", 0o600, "printable ASCII"},
		"no equals sign":   {tokenA, 0o600, ", line 1: it must have the form name=token"},
		"name":             {"a/b=" + tokenA, 0o600, "a name must have 1 to 64 letters"},
		"space after name": {"web =" + tokenA, 0o600, "without spaces around '='"},
		"base64, no name":  {tokenA + "=", 0o600, ", line 1: the token after name= must have"},
		"the wrong way":    {tokenA + "=web", 0o600, ", line 1: the token after name= must have"},
		"twice, wrong way": {tokenA + "=" + tokenB + "\n" + tokenA + "=" + tokenB + "x", 0o600, ", line 2: its name is already used in line 1"},
		"empty":            {"# empty so far\n", 0o600, " has no token"},
		"too big":          {strings.Repeat("#\n", 1<<19+1), 0o600, "more than 1 MiB"},
	} {
		_, path, err := open(t, test.content, test.mode)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) ||
			!strings.HasPrefix(err.Error(), "--caller-token-file: ") {
			t.Errorf("%s: %v, want %q", name, err, test.want)
			continue
		}
		if strings.Contains(err.Error(), tokenA[:15]) || strings.Contains(err.Error(), tokenB) {
			t.Errorf("%s: the error shows a token: %v", name, err)
		}
	}
	if _, err := New(Config{Path: filepath.Join(t.TempDir(), "none"), Flag: "caller-token-file"}); err == nil {
		t.Error("a file that is not there, and no error")
	}
}

// running is a Set that checks its file on demand.
type running struct {
	*Set
	path  string
	ticks chan time.Time
	// notice triggers a look for expiries, and at is the time.
	notice chan time.Time
	at     atomic.Pointer[time.Time]
	logs   *observer.ObservedLogs
}

func run(t *testing.T, path string) *running {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r := &running{path: path, ticks: make(chan time.Time), notice: make(chan time.Time), logs: logs}
	r.at.Store(&now)
	var err error
	r.Set, err = New(Config{
		Path: path, Flag: "caller-token-file", Listener: "public", Logger: zap.New(core), Registerer: prometheus.NewRegistry(),
		Ticks: r.ticks, NoticeTicks: r.notice, Now: func() time.Time { return *r.at.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// look returns after a check of the file: the second tick is received after the
// first has been processed.
func (r *running) look() {
	r.ticks <- time.Time{}
	r.ticks <- time.Time{}
}

func (r *running) want(t *testing.T, when, token, name string) {
	t.Helper()
	if got, _ := r.Name(token); got != name {
		t.Errorf("%s: the token is %q's, want %q", when, got, name)
	}
}

func TestChangesAreUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens")
	write(t, path, "web="+tokenA, 0o600)
	r := run(t, path)

	inPlace(t, path, "web="+tokenB, 0o600)
	r.look()
	r.want(t, "written in place", tokenA, "")
	r.want(t, "written in place", tokenB, "web")

	write(t, path+".new", "other="+tokenA, 0o600)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	r.look()
	r.want(t, "renamed", tokenB, "")
	r.want(t, "renamed", tokenA, "other")
	if n := r.logs.Len(); n != 2 {
		t.Errorf("%d log lines for two changes", n)
	}
}

// TestSymlinkSwapIsUsed: Kubernetes replaces the files of a volume in this way.
func TestSymlinkSwapIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "..data")
	for version, token := range map[string]string{"1": tokenA, "2": tokenB} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "tokens"), "web="+token, 0o600)
	}
	if err := os.Symlink("1", link); err != nil {
		t.Fatal(err)
	}
	r := run(t, filepath.Join(link, "tokens"))
	r.want(t, "before", tokenA, "web")
	if err := os.Symlink("2", link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
	r.look()
	r.want(t, "after", tokenB, "web")
	r.want(t, "after", tokenA, "")
}

// TestInvalidChangesKeepTheOldTokens: each is logged once, without any part of a
// token.
func TestInvalidChangesKeepTheOldTokens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, "web="+tokenA, 0o600)
	r := run(t, path)
	for i, change := range []func(){
		func() { write(t, path, "web="+tokenB+"\nweb="+tokenA, 0o600) },
		func() { write(t, path, "web="+tokenB, 0o644) },
		func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			r.look()
			r.want(t, "gone", tokenA, "web")
			write(t, path, tokenB, 0o600)
		},
	} {
		change()
		r.look()
		r.look()
		r.want(t, "wrong", tokenA, "web")
		r.want(t, "wrong", tokenB, "")
		if n := r.logs.Len(); n != i+1 {
			t.Errorf("%d log lines after %d wrong contents: %v", n, i+1, r.logs.All())
		}
	}
	write(t, path, "web="+tokenB, 0o600)
	r.look()
	r.want(t, "right again", tokenB, "web")
	for _, line := range r.logs.All() {
		for _, value := range line.ContextMap() {
			if text, _ := value.(string); strings.Contains(text+line.Message, tokenA) || strings.Contains(text, tokenB) {
				t.Errorf("a token is in the log: %v", line)
			}
		}
	}
}

// TestATokenInTwoFiles is refused at start and when either file changes.
func TestATokenInTwoFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	callers, admins := filepath.Join(dir, "callers"), filepath.Join(dir, "admins")
	write(t, callers, "web="+tokenA, 0o600)
	write(t, admins, "ann="+tokenA, 0o600)
	ticks := make(chan time.Time)
	sets := func() (a, b *Set) {
		var err error
		if a, err = New(Config{Path: callers, Flag: "caller-token-file", Listener: "public"}); err != nil {
			t.Fatal(err)
		}
		if b, err = New(Config{Path: admins, Flag: "admin-token-file", Listener: "admin", Ticks: ticks}); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	err := Separate(sets())
	if err == nil || !strings.Contains(err.Error(), "the token of web is also that of ann in the file of --admin-token-file") || strings.Contains(err.Error(), tokenA) {
		t.Errorf("at start: %v", err)
	}
	write(t, admins, "ann="+tokenB, 0o600)
	a, b := sets()
	if err := Separate(a, b); err != nil {
		t.Fatal(err)
	}
	write(t, admins, "ann="+tokenB+"\nbob="+tokenA, 0o600)
	if outcome := b.Files().Reload(); outcome != reload.Refused {
		t.Errorf("a caller token among the admin tokens: %s", outcome)
	}
	if name, known := b.Name(tokenA); known {
		t.Errorf("the caller token is admin token %q", name)
	}
	write(t, callers, "web="+tokenA[1:], 0o600)
	if outcome := a.Files().Reload(); outcome != reload.Changed {
		t.Errorf("another caller token: %s", outcome)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Files().Run(ctx) }()
	for range 2 { // the second one comes when the first one has been looked at
		ticks <- time.Time{}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if name, _ := b.Name(tokenA); name != "bob" {
		t.Errorf("the token is not in the other file any more, and still refused: %q", name)
	}
	write(t, callers, "web="+tokenB, 0o600)
	if outcome := a.Files().Reload(); outcome != reload.Refused {
		t.Errorf("an admin token among the caller tokens: %s", outcome)
	}
	if err := Separate(a, nil); err != nil {
		t.Errorf("without admin tokens: %v", err)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, "web="+tokenA+"\nold="+tokenB+"x expires=2026-01-01T00:00:00Z", 0o600)
	registry := prometheus.NewRegistry()
	s, err := New(Config{Path: path, Flag: "caller-token-file", Listener: "public", Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	s.Name("")
	s.Name(tokenB)
	s.Name(tokenB)
	s.Name(tokenA)
	s.Name(tokenB + "x")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, metric := range families[0].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "reason" {
				got[label.GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	if got["absent"] != 1 || got["wrong"] != 2 || got["expired"] != 1 {
		t.Errorf("counted %v", got)
	}
}
