package resume

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// The limits of the service, as short as a busy machine allows.
const (
	maxStale  = 3 * time.Second
	heartbeat = 50 * time.Millisecond
)

// instance is a service behind a wire.
type instance struct {
	*service.Service
	wire     *wire
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	client   *mongo.Client
	cancel   context.CancelFunc
	ended    chan error
}

// startService runs a service on the writer's collection. stop must be called.
func startService(s *mongotest.Server, w *writer, wire *wire) (*instance, error) {
	client, err := mongo.Connect(s.Options("").SetDialer(wire))
	if err != nil {
		return nil, err
	}
	core, logs := observer.New(zapcore.InfoLevel)
	i := &instance{wire: wire, registry: prometheus.NewRegistry(), logs: logs, client: client, ended: make(chan error, 1)}
	i.Service, err = service.Wire(service.Config{
		Client: client, Database: w.keys.Database().Name(), CacheSizeMiB: 8, Usage: service.UsageOff,
		MaxStale: maxStale, HeartbeatInterval: heartbeat, Logger: zap.New(core), Registerer: i.registry,
	})
	if err != nil {
		_ = client.Disconnect(context.Background()) // nothing was sent
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.cancel = cancel
	go func() { i.ended <- i.Run(ctx) }()
	return i, nil
}

// stop ends the service, and returns Run's error.
func (i *instance) stop() error {
	i.cancel()
	err := <-i.ended
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = i.client.Disconnect(ctx) // fails where the connections were cut
	return err
}

// isCurrent reports whether the service is live with a complete cache.
func (i *instance) isCurrent() bool {
	return i.Status().State == service.Live && i.Cache.Stats().Complete
}

// await reports whether a condition came true within a time.
func await(limit time.Duration, condition func() bool) bool {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(limit); !condition(); <-ticker.C {
		if time.Now().After(deadline) {
			return condition()
		}
	}
	return true
}
