package mongotest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// errExited: the process ended before it answered.
var errExited = errors.New("the process has exited")

// pollInterval is the pace at which conditions are looked at.
const pollInterval = 10 * time.Millisecond

// process is a child that dies with the test binary, however that dies.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startProcess starts program with its output in a log file in dir.
//
// The goroutine keeps its thread until the child is gone: on Linux the child is
// killed when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).
func startProcess(program string, args []string, dir string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p := &process{cmd: exec.Command(program, args...), log: log.Name(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, dir
	dieWithParent(p.cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	return p, <-started
}

// kill ends the process and waits until it is gone.
func (p *process) kill() {
	// The only error is that it has ended already
	_ = p.cmd.Process.Kill()
	<-p.done
}

// awaitPing returns when the server answers ping, which needs no privileges.
func (p *process) awaitPing(ctx context.Context, s *Server, port int) error {
	if err := p.awaitPort(ctx, port); err != nil {
		return err
	}
	client, err := mongo.Connect(s.Options(""))
	if err != nil {
		return err
	}
	defer disconnect(client)
	return client.Database("admin").RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
}

// awaitPort returns when somebody listens there. The driver would find out too,
// but looks only twice a second.
func (p *process) awaitPort(ctx context.Context, port int) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return errExited
		case <-ctx.Done():
			return fmt.Errorf("it does not listen: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// logTail is the end of what the process has printed.
func (p *process) logTail() string {
	const most = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
