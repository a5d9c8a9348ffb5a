package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/seed"
)

// loadTimeout is short: the server runs in this process.
const loadTimeout = 10 * time.Second

// devServer is the running in-memory MongoDB.
type devServer struct {
	DevServer
	cancel context.CancelFunc
	// done receives the error of Run, and is then closed.
	done chan error
}

// startDev starts the in-memory MongoDB, on a free port if its own is in use. It
// does not end with the context of the process, because it stops last.
func (d *serveRun) startDev() (*devServer, error) {
	server, err := d.deps.NewDev(d.cfg.DevMongoDBAddr, d.log.Logger)
	if errors.Is(err, syscall.EADDRINUSE) {
		if server, err = d.deps.NewDev(freePort(d.cfg.DevMongoDBAddr), d.log.Logger); err == nil {
			d.noteMove("the in-memory MongoDB", d.cfg.DevMongoDBAddr, hostOf(server.URI()))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("starting the in-memory MongoDB: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	dev := &devServer{DevServer: server, cancel: cancel, done: make(chan error, 1)}
	go func() {
		dev.done <- server.Run(ctx)
		close(dev.done)
	}()
	return dev, nil
}

// bindOne binds the address of one listener. With --dev, a default address that is
// in use is replaced by a free port, so that a first try does not fail.
func (d *serveRun) bindOne(ctx context.Context, l config.Listener) (net.Listener, error) {
	if path, is := config.UnixSocket(l.Addr); is {
		mode, err := d.cfg.SocketMode()
		if err != nil {
			return nil, err
		}
		return listenUnix(ctx, l.Flag, path, mode)
	}
	bound, err := listen(ctx, l.Flag, l.Addr)
	if !d.cfg.Dev || d.given[l.Flag] || !errors.Is(err, syscall.EADDRINUSE) {
		return bound, err
	}
	if bound, err = listen(ctx, l.Flag, freePort(l.Addr)); err == nil {
		d.noteMove("the "+l.Name+" listener", l.Addr, bound.Addr().String())
	}
	return bound, err
}

// move is an address of --dev that is in use, and the one taken instead.
type move struct{ what, from, to string }

func (m move) String() string {
	return fmt.Sprintf("%s is in use: %s is on %s", m.from, m.what, m.to)
}

// noteMove keeps a move for the greeting, and logs it for those who do not see that.
func (d *serveRun) noteMove(what, from, to string) {
	d.moved = append(d.moved, move{what, from, to})
	d.log.Info("an address is in use, "+what+" takes a free port", zap.String("in_use", from), zap.String("addr", to))
}

// freePort is addr with port 0. An addr without a port is not changed.
func freePort(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, "0")
}

// hostOf is the address in a connection string, or all of it if it has none.
func hostOf(uri string) string {
	parsed, err := url.Parse(uri)
	if err != nil || parsed.Host == "" {
		return uri
	}
	return parsed.Host
}

// makeAdminToken turns the admin listener on, unless the settings name a file with
// tokens: it writes a token, which is valid for this run only, to a file that only
// this user can read. remove deletes it.
func (d *serveRun) makeAdminToken() (remove func(), err error) {
	if d.cfg.AdminTokenFile != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "keytail-dev-")
	if err != nil {
		return nil, fmt.Errorf("the admin token of --dev needs a temporary directory: set TMPDIR to one that can be written, or give --admin-token-file: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	d.madeToken = rand.Text()
	path := filepath.Join(dir, "admin-token")
	if err := os.WriteFile(path, []byte("dev="+d.madeToken+" role=admin\n"), 0o600); err != nil {
		remove()
		return nil, fmt.Errorf("writing the admin token of --dev: %w", err)
	}
	d.cfg.AdminTokenFile = path
	d.log.Info("the admin listener is on, with a token for this run", zap.String("admin_token_file", path))
	return remove, nil
}

// stop ends the server and returns when all of it has stopped.
func (s *devServer) stop() {
	s.cancel()
	for range s.done {
		// Ignore the error of Run: the server is no longer needed.
	}
}

// loadSamples inserts the sample keys into the new, empty collection.
func loadSamples(ctx context.Context, collection *mongo.Collection) error {
	docs, err := seed.Documents()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if _, err := collection.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("loading the sample keys: %w", err)
	}
	return nil
}
