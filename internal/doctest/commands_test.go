package doctest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// needs are what a block may need that this test does not have: such a block is
// not run. Anything else in its place is a mistake.
var needs = []string{"a collector", "a release", "a replica set", "chromium", "docker", "kubernetes", "packages", "some minutes", "systemd"}

const (
	// background marks a block that starts a process, which runs until the end of the
	// page.
	background = "background"
	// ready is what the process prints last when it has started.
	ready = "Ctrl-C stops"
	// startTime lets `go run` compile everything on a busy machine.
	startTime = 5 * time.Minute
	// commandTime bounds one block.
	commandTime = 2 * time.Minute
)

// TestCommands runs the commands of README.md and of docs/: each block of sh, and
// each line of a block of console that begins with "$ ", whose output is compared
// with the lines that follow it. In these, … matches any text and a line with
// nothing else for any number of lines.
// A block of text after a process in the background is compared with what that
// process has printed.
//
// All blocks of a page share a directory, which is empty at first. Commands of the
// go tool run in the repository's root instead.
func TestCommands(t *testing.T) {
	if runtime.GOOS == "windows" || testing.Short() {
		t.Skip("needs a POSIX shell and some time")
	}
	binaries := t.TempDir()
	build(t, binaries)
	ran := 0
	for _, p := range userPages(mustLoadTree(t)) {
		var blocks []block
		for _, b := range p.blocks {
			if b.language == "sh" || b.language == "console" || b.language == "text" {
				blocks = append(blocks, b)
			}
		}
		if len(blocks) == 0 {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			s := &session{t: t, page: p.name, dir: t.TempDir(), binaries: binaries}
			defer s.stop()
			for i := range blocks {
				if s.run(&blocks[i]) {
					ran++
				}
			}
		})
	}
	if ran < 10 {
		t.Errorf("only %d blocks were run", ran)
	}
}

// build puts the keytail binary into a directory.
func build(t *testing.T, directory string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(directory, "keytail"), "./cmd/server")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// session is one page's shell.
type session struct {
	t        *testing.T
	page     string
	dir      string
	binaries string
	started  []*process
	// addresses replace those of the page by those that the process really has.
	addresses *strings.Replacer
	variables []string
}

// run runs a block, and reports whether it did.
func (s *session) run(b *block) bool {
	s.t.Helper()
	if need, ok := strings.CutPrefix(b.marker, "needs: "); ok {
		if !slices.Contains(needs, need) {
			s.t.Errorf("%s:%d: the marker has to name one of %q", s.page, b.line, needs)
		}
		return false
	}
	switch {
	case b.marker == background:
		s.start(b)
	case b.marker != "":
		s.t.Errorf("%s:%d: unknown marker %q", s.page, b.line, b.marker)
	case b.language == "console":
		s.console(b)
	case b.language == "text":
		s.shown(b)
		return false
	default:
		s.command(b.line, b.text())
	}
	return true
}

// command runs a script and returns its standard output.
func (s *session) command(line int, script string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), commandTime)
	defer cancel()
	var out, wrong bytes.Buffer
	cmd := s.shell(ctx, script)
	cmd.Stdout, cmd.Stderr = &out, &wrong
	if err := cmd.Run(); err != nil {
		s.t.Errorf("%s:%d: %v\n%s\n--- stdout\n%s\n--- stderr\n%s", s.page, line, err, script, &out, &wrong)
	}
	return out.String()
}

// shell prepares a script. What the page takes for granted is set by the
// environment, or replaced: free ports in place of the default ones.
func (s *session) shell(ctx context.Context, script string) *exec.Cmd {
	if s.addresses != nil {
		script = s.addresses.Replace(script)
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\n"+script)
	cmd.Dir = s.dir
	if usesGo.MatchString(script) {
		cmd.Dir = root
	}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KEYTAIL_") && !strings.HasPrefix(variable, "PATH=") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+s.binaries+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, s.variables...)
	return cmd
}

var usesGo = regexp.MustCompile(`(?m)^\s*go (-C \S+ )?(run|build|test|vet) `)

// console runs the commands of a block and compares what they print.
func (s *session) console(b *block) {
	s.t.Helper()
	script, want := "", []string{}
	check := func() {
		if script == "" {
			return
		}
		got := strings.ReplaceAll(strings.TrimRight(s.command(b.line, script), "\n"), "\r", "")
		if !pattern(want).MatchString(got) {
			s.t.Errorf("%s:%d: %s\n--- printed\n%s\n--- the page has\n%s", s.page, b.line, script, got, strings.Join(want, "\n"))
		}
	}
	for _, line := range b.lines {
		if next, ok := strings.CutPrefix(line, "$ "); ok {
			check()
			script, want = next, nil
		} else {
			want = append(want, line)
		}
	}
	check()
}

// shown compares a block of text with what the last process in the background has
// printed. Without such a process it is a picture, or the output of another program.
func (s *session) shown(b *block) {
	s.t.Helper()
	if len(s.started) == 0 {
		return
	}
	printed := s.started[len(s.started)-1].output.String()
	if want := s.addresses.Replace(b.text()); !pattern(strings.Split(want, "\n")).MatchString(strings.TrimLeft(printed, "\n")) {
		s.t.Errorf("%s:%d: the process does not print this, but:\n%s", s.page, b.line, printed)
	}
}

// pattern is the expression that matches what a page shows.
func pattern(lines []string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A`)
	for i, line := range lines {
		if line == "…" {
			b.WriteString(`(?:[^\n]*(?:\n|\z))*?`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", `[^\n]*`))
		if i < len(lines)-1 {
			b.WriteString(`(?:\n|\z)`)
		}
	}
	b.WriteString(`\n?\z`)
	return regexp.MustCompile(b.String())
}

// process runs in the background.
type process struct {
	cmd    *exec.Cmd
	output *output
	// exited is closed at the end, and err is valid from then on.
	exited chan struct{}
	err    error
}

// output collects what a process prints, and reports when it is ready.
type output struct {
	mutex sync.Mutex
	text  bytes.Buffer
	ready chan struct{}
	once  sync.Once
}

func (o *output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.text.Write(p)
	if bytes.Contains(o.text.Bytes(), []byte(ready)) {
		o.once.Do(func() { close(o.ready) })
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// start runs a block until the end of the page.
func (s *session) start(b *block) {
	s.t.Helper()
	cmd := s.shell(context.WithoutCancel(s.t.Context()), b.text())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run starts another process
	p := &process{cmd: cmd, output: &output{ready: make(chan struct{})}, exited: make(chan struct{})}
	var wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = p.output, io.Writer(&wrong)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.started = append(s.started, p)
	go func() {
		defer close(p.exited)
		p.err = cmd.Wait()
	}()
	timeout := time.NewTimer(startTime)
	defer timeout.Stop()
	select {
	case <-p.output.ready:
	case <-p.exited:
		s.t.Fatalf("%s:%d: %s ended: %v\n%s\n%s", s.page, b.line, b.text(), p.err, p.output, &wrong)
	case <-timeout.C:
		s.t.Fatalf("%s:%d: %s does not print %q", s.page, b.line, b.text(), ready)
	}
	s.readAddresses(p.output.String())
}

var address = regexp.MustCompile(`(?m)^  (MongoDB|public|operations|admin) +([^ \n]+)`)

// readAddresses takes the addresses that a process has printed for those of the
// page.
func (s *session) readAddresses(printed string) {
	var pairs []string
	for _, m := range address.FindAllStringSubmatch(printed, -1) {
		switch m[1] {
		case "MongoDB":
			pairs = append(pairs, "mongodb://127.0.0.1:27127/?replicaSet=devmongo", m[2])
		case "public":
			pairs = append(pairs, "http://127.0.0.1:8080", m[2])
			s.variables = append(s.variables, "KEYTAIL_URL="+m[2])
		case "operations":
			pairs = append(pairs, "http://127.0.0.1:9090", m[2])
		case "admin":
			pairs = append(pairs, "http://127.0.0.1:9091", m[2])
			s.variables = append(s.variables, "KEYTAIL_ADMIN_URL="+m[2])
		}
	}
	s.addresses = strings.NewReplacer(pairs...)
}

// stop ends what was started as Ctrl-C does, which reaches the whole group.
func (s *session) stop() {
	for _, p := range s.started {
		if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Error(err)
		}
		timeout := time.NewTimer(30 * time.Second)
		select {
		case <-p.exited:
		case <-timeout.C:
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			s.t.Errorf("%s: %v does not stop at Ctrl-C", s.page, p.cmd.Args)
		}
		timeout.Stop()
	}
}
