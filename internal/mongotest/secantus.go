package mongotest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/testprogram"
)

// secantusProgram is the program's name on PATH and in .ci/venv/bin.
const secantusProgram = "secantusd-py"

// secantusVariable names the path of secantusd-py.
const secantusVariable = "KEYTAIL_TEST_SECANTUSD"

// startTimeout is how long secantusd-py may take until it answers. On an idle
// machine it takes a second.
const startTimeout = 60 * time.Second

// SecantusConfig configures a secantusd-py that belongs to one test.
type SecantusConfig struct {
	// Args are added to the command line, such as "--standalone" or "--auth".
	Args []string
}

// Secantus is a secantusd-py process that a test may kill and restart.
type Secantus struct {
	Server
	// Args are those of SecantusConfig. A test may change them before Restart.
	Args []string

	program string
	dir     string
	port    int
	process *testprogram.Process
}

// StartSecantus starts a process with an empty storage. It ends when t ends.
// Without secantusd-py it skips t, or fails it if secantus is required. The feature
// flags of Server stay false when the arguments keep an anonymous client from
// asking.
func StartSecantus(t testing.TB, cfg SecantusConfig) *Secantus {
	t.Helper()
	s, err := newSecantus(t.TempDir(), cfg)
	testprogram.SkipIfMissing(t, NameSecantus, err)
	t.Cleanup(s.Kill9)
	if err := s.probe(); err != nil {
		t.Logf("the features of this secantusd-py are unknown: %v", err)
	}
	return s
}

// NeedSecantus skips t without secantusd-py, or fails it if secantus is required.
func NeedSecantus(t testing.TB) {
	t.Helper()
	_, err := findSecantus()
	testprogram.SkipIfMissing(t, NameSecantus, err)
}

// OpenSecantus is StartSecantus for programs that are not tests. The storage is in
// dir. The caller ends the process with Kill9.
func OpenSecantus(dir string, cfg SecantusConfig) (*Secantus, error) { return newSecantus(dir, cfg) }

// Kill9 ends the process with SIGKILL, as a power failure would, and returns when
// it has ended. It does nothing when the process has ended already.
func (s *Secantus) Kill9() { s.process.Kill() }

// Restart starts the process again with the same storage and port, and returns when
// it answers.
func (s *Secantus) Restart(t testing.TB) {
	t.Helper()
	if err := s.Reopen(); err != nil {
		t.Fatal(err)
	}
}

// Pid is the process ID.
func (s *Secantus) Pid() int { return s.process.Pid() }

// Reopen is Restart for programs that are not tests.
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

// newSecantus starts a process on a free port. It tries other ports when another
// process takes the port first.
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
		if err = s.start(); !errors.Is(err, testprogram.ErrExited) {
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
		// Without it a kill -9 loses acknowledged writes.
		"--sync-on-commit",
		"--enable-test-commands",
		// The resume tokens of an idle stream advance, as MongoDB's do every 10 s.
		"--noop-heartbeat-seconds", "2",
	}, s.Args...)
	p, err := testprogram.Start(s.program, args, s.dir)
	if err != nil {
		return err
	}
	s.process = p
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.awaitPing(ctx); err != nil {
		p.Kill()
		return fmt.Errorf("%s: %w; its log ends with:\n%s", secantusProgram, err, p.LogTail())
	}
	return nil
}

// awaitPing returns when the server answers ping, which needs no privileges. It
// waits for the port first, because the driver checks only twice a second.
func (s *Secantus) awaitPing(ctx context.Context) error {
	if err := s.process.AwaitPort(ctx, s.port); err != nil {
		return err
	}
	client, err := mongo.Connect(s.Options(""))
	if err != nil {
		return err
	}
	defer disconnect(client)
	return client.Database("admin").RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
}

// findSecantus returns the program's path, or testprogram.ErrMissing.
func findSecantus() (string, error) {
	return testprogram.Find(testprogram.Program{
		Name:     secantusProgram,
		Variable: secantusVariable,
		Places:   []string{secantusProgram, testprogram.InVenv(secantusProgram)},
		Install:  "pip install SecantusDB==0.7.0b3, and set " + secantusVariable + " unless it is on PATH or in .ci/venv/bin",
	})
}

// freePort chooses a port below the range that Linux and macOS use for outgoing
// connections. In that range, a client that dials the port of a killed server could
// connect to itself, or take the port before the restart.
func freePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.New("no free port found in 100 attempts between 20000 and 32000")
}
