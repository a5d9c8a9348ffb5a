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

// loadTimeout: the server is in this very process.
const loadTimeout = 10 * time.Second

// devServer is the in-memory MongoDB while it runs.
type devServer struct {
	DevServer
	cancel context.CancelFunc
	// done has Run's error once it has returned, and is closed then.
	done chan error
}

// startDev binds the in-memory MongoDB, on a free port when its own is taken,
// and runs it. It does not hang on the process's context: it stops last.
func (d *serveRun) startDev() (*devServer, error) {
	server, err := d.deps.NewDev(d.cfg.DevMongoDBAddr, d.log)
	if errors.Is(err, syscall.EADDRINUSE) {
		d.log.Info("the in-memory MongoDB takes a free port, its own is taken", zap.String("taken", d.cfg.DevMongoDBAddr))
		server, err = d.deps.NewDev(freePort(d.cfg.DevMongoDBAddr), d.log)
	}
	if err != nil {
		return nil, fmt.Errorf("the in-memory MongoDB does not start: %w", err)
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
		// Run's error: a server that is being thrown away has none worth reading.
	}
}

// loadSamples puts the sample keys into the new, empty collection.
func loadSamples(ctx context.Context, collection *mongo.Collection) error {
	docs, err := seed.Documents()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if _, err := collection.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("the sample keys cannot be loaded: %w", err)
	}
	return nil
}
