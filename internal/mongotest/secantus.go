package mongotest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// secantusVariable is the path of secantusd-py.
const secantusVariable = "KEYTAIL_TEST_SECANTUSD"

// secantusProgram is the name of the program on PATH and in the CI's venv.
const secantusProgram = "secantusd-py"

// startTimeout is how long secantusd-py may take until it answers. A
// quiet machine needs a second.
const startTimeout = 60 * time.Second

// SecantusConfig is for tests that need a secantusd-py of their own.
type SecantusConfig struct {
	// Args are added to the command line, such as "--standalone" or "--auth".
	Args []string
}

// Secantus is a secantusd-py process that a test may kill and start again.
type Secantus struct {
	Server
	// Args are those of SecantusConfig. A test may change them for a Restart.
	Args []string

	program string
	dir     string
	port    int
	process *process
}

// StartSecantus starts a process of t's own on an empty storage. It ends with
// t. Where secantusd-py is not installed t is skipped, or fails if it is
// required. The flags of Server stay false when the arguments keep an anonymous
// client from asking.
func StartSecantus(t *testing.T, cfg SecantusConfig) *Secantus {
	t.Helper()
	s, err := newSecantus(t.TempDir(), cfg)
	skipIfMissing(t, NameSecantus, err)
	t.Cleanup(s.Kill9)
	if err := s.probe(); err != nil {
		t.Logf("what this secantusd-py can do is not known: %v", err)
	}
	return s
}

// NeedSecantus skips t where secantusd-py is not installed, or fails it if that is
// required.
func NeedSecantus(t testing.TB) {
	t.Helper()
	_, err := findSecantus()
	skipIfMissing(t, NameSecantus, err)
}

// OpenSecantus is StartSecantus for programs that are no tests, with its storage in
// dir. Whoever starts it ends it, by Kill9.
func OpenSecantus(dir string, cfg SecantusConfig) (*Secantus, error) { return newSecantus(dir, cfg) }

// Kill9 ends the process as a power cut would, and returns when it is gone.
// Killing what is dead already does nothing.
func (s *Secantus) Kill9() { s.process.kill() }

// Restart starts the process again on the same storage and port, and returns
// when it answers.
func (s *Secantus) Restart(t testing.TB) {
	t.Helper()
	if err := s.Reopen(); err != nil {
		t.Fatal(err)
	}
}

// Pid is the process' number.
func (s *Secantus) Pid() int { return s.process.cmd.Process.Pid }

// Reopen is Restart for programs that are no tests.
func (s *Secantus) Reopen() error {
	s.Kill9()
	return s.start()
}

func startSharedSecantus() (*Server, func() error, error) {
	dir, err := os.MkdirTemp("", "keytail-secantus-")
	if err != nil {
		return nil, nil, err
	}
	s, err := newSecantus(dir, SecantusConfig{})
	if err == nil {
		if err = s.probe(); err != nil {
			s.Kill9()
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &s.Server, func() error { s.Kill9(); return os.RemoveAll(dir) }, nil
}

// newSecantus starts a process on a port that was free a moment ago, and tries
// others when somebody was faster.
func newSecantus(dir string, cfg SecantusConfig) (*Secantus, error) {
	program, err := findSecantus()
	if err != nil {
		return nil, err
	}
	s := &Secantus{program: program, dir: dir, Args: cfg.Args}
	for range 3 {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		s.Server = Server{Name: NameSecantus, URI: fmt.Sprintf("mongodb://127.0.0.1:%d/", s.port)}
		if err = s.start(); !errors.Is(err, errExited) {
			break
		}
	}
	return s, err
}

func (s *Secantus) start() error {
	args := append([]string{
		"--host", "127.0.0.1",
		"--port", strconv.Itoa(s.port),
		"--storage-path", filepath.Join(s.dir, "data"),
		// Without it a kill -9 loses acknowledged writes
		"--sync-on-commit",
		"--enable-test-commands",
		// Batch tokens of a quiet stream move, as MongoDB's do every 10 s
		"--noop-heartbeat-seconds", "2",
	}, s.Args...)
	p, err := startProcess(s.program, args, s.dir)
	if err != nil {
		return err
	}
	s.process = p
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := p.awaitPing(ctx, &s.Server, s.port); err != nil {
		p.kill()
		return fmt.Errorf("%s: %w; its log ends in:\n%s", secantusProgram, err, p.logTail())
	}
	return nil
}

// findSecantus returns the program's path or errMissing.
func findSecantus() (string, error) {
	if path := os.Getenv(secantusVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", secantusVariable, err)
		}
		return path, nil
	}
	if path, err := exec.LookPath(secantusProgram); err == nil {
		return path, nil
	}
	if root, err := moduleRoot(); err == nil {
		path := filepath.Join(root, ".ci", "venv", "bin", secantusProgram)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s is neither named by %s nor on PATH nor in .ci/venv/bin; pip install SecantusDB==0.7.0b3",
		errMissing, secantusProgram, secantusVariable)
}

// moduleRoot is the nearest directory above with a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in any directory above")
		}
		dir = parent
	}
}

// freePort picks below the range that Linux and macOS take client ports from.
// There a client that dials the port of a killed server could meet itself, or
// take the port away before the restart.
func freePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.New("no free port among a hundred between 20000 and 32000")
}
