package cli

import (
	"net"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/connlimit"
)

const (
	// maxOpenPerToken bounds the streams of events of one token, and its waits for
	// revisions: a service has a stream for each of its instances.
	maxOpenPerToken = 256
	// openShare is the part of a listener's connections that each of the two may have: a
	// stream is never idle, so it never makes room for others.
	openShare = 4
	// poolsOpen is how many full pools of connections to MongoDB there may be: the driver
	// has one for each member. After an election, the connections to the former primary
	// stay until they have been idle for a minute, beside those to the new one. With
	// --dev, the other end of each connection is in this process.
	poolsOpen = 2
)

// divideDescriptors sets how many connections each listener may have.
func (d *serveRun) divideDescriptors(to database) error {
	var err error
	d.connections, err = connlimit.Divide(connlimit.Need{
		Descriptors: connlimit.Descriptors(), Database: poolsOpen * to.Pool(), GRPC: d.cfg.GRPCAddr != "", Requested: d.cfg.MaxConnections,
	})
	if d.connections.Warning != "" {
		d.log.Warn(d.connections.Warning)
	}
	return err
}

// openPerToken is for a listener with this many connections.
func openPerToken(connections int) int {
	return max(1, min(maxOpenPerToken, connections/openShare))
}

// limit bounds the connections of a listener. Nil for one that could not be bound.
func (d *serveRun) limit(bound net.Listener, name string) (*connlimit.Listener, error) {
	if bound == nil {
		return nil, nil //nolint:nilnil // the error has been reported
	}
	limit := d.connections.Clients
	if name == config.Operations || name == config.Admin {
		limit = d.connections.Side
	}
	return connlimit.New(bound, connlimit.Config{
		Limit: limit, Name: name, Registerer: d.registry, Logger: d.log.Named(name).With(zap.String("listener", name)),
	})
}
