package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

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
	server, err := d.deps.NewDev(d.cfg.DevMongoDBAddr, d.log)
	if errors.Is(err, syscall.EADDRINUSE) {
		d.log.Info("the port of the in-memory MongoDB is in use, using a free one", zap.String("taken", d.cfg.DevMongoDBAddr))
		server, err = d.deps.NewDev(freePort(d.cfg.DevMongoDBAddr), d.log)
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
