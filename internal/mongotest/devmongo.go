package mongotest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keytail/keytail/internal/devmongo"
)

// Devmongo is an in-memory server that belongs to one test.
type Devmongo struct {
	Server
	// Node is the server itself, for what no client can make it do.
	Node *devmongo.Server
}

// StartDevmongo starts an in-memory server with this configuration. It stops when t
// ends.
func StartDevmongo(t testing.TB, cfg devmongo.Config) *Devmongo {
	t.Helper()
	d, stop, err := newDevmongo(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, stop)
	return d
}

func startSharedDevmongo() (*Server, func() error, error) {
	d, stop, err := newDevmongo(devmongo.Config{})
	if err != nil {
		return nil, nil, err
	}
	return &d.Server, stop, nil
}

// newDevmongo serves until stop is called, which returns Run's error.
func newDevmongo(cfg devmongo.Config) (d *Devmongo, stop func() error, err error) {
	if cfg.Getenv == nil {
		// A test must not depend on the environment of the machine.
		cfg.Getenv = func(string) string { return "" }
	}
	node, err := devmongo.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	stop = func() error {
		cancel()
		if err := <-ended; err != nil {
			return fmt.Errorf("devmongo: %w", err)
		}
		return nil
	}
	d = &Devmongo{Server{Name: NameDevmongo, URI: node.URI()}, node}
	if err := d.probe(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("devmongo: %w", err), stop())
	}
	return d, stop, nil
}
