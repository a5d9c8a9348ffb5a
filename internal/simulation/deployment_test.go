package simulation

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/address"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/mnet"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/xoptions"
)

// deployment connects a client of the driver to the simulated network. The driver runs each operation
// on the goroutine of its caller then: it has no pool, and monitors nothing.
type deployment struct {
	net *network
	// who is the name of the program that the client belongs to.
	who string
}

// connect returns a client of the driver.
func connect(net *network, who string) (*mongo.Client, error) {
	opts := options.Client()
	if err := xoptions.SetInternalClientOptions(opts, "deployment", deployment{net, who}); err != nil {
		return nil, err
	}
	return mongo.Connect(opts)
}

// SelectServer waits for a primary, as long as ctx allows.
func (d deployment) SelectServer(ctx context.Context, _ description.ServerSelector) (driver.Server, error) {
	if err := d.net.set.awaitPrimary(ctx); err != nil {
		return nil, topology.ServerSelectionError{Wrapped: err}
	}
	return d, nil
}

// Kind is that of a replica set.
func (deployment) Kind() description.TopologyKind {
	return description.TopologyKindReplicaSetWithPrimary
}

// GetServerSelectionTimeout is the driver's default.
func (deployment) GetServerSelectionTimeout() time.Duration { return 30 * time.Second }

// Connection makes a connection: nothing is kept in it.
func (d deployment) Connection(context.Context) (*mnet.Connection, error) {
	return mnet.NewConnection(&connection{deployment: d}), nil
}

// RTTMonitor knows nothing.
func (deployment) RTTMonitor() driver.RTTMonitor { return noRTT{} }

// noRTT is a round trip time that was not measured.
type noRTT struct{}

func (noRTT) EWMA() time.Duration { return 0 }
func (noRTT) Min() time.Duration  { return 0 }
func (noRTT) Stats() string       { return "" }

// connection sends a command when its reply is read.
type connection struct {
	deployment
	request []byte
}

// Write takes a command.
func (c *connection) Write(_ context.Context, message []byte) error {
	c.request = append([]byte(nil), message...)
	return nil
}

// Read executes it.
func (c *connection) Read(ctx context.Context) ([]byte, error) {
	reply, err := c.net.call(ctx, c.who, c.request)
	if err != nil {
		return nil, topology.ConnectionError{ConnectionID: c.ID(), Wrapped: err}
	}
	return reply, nil
}

// errConnection is a connection that broke.
var errConnection = errors.New("the simulated connection broke")

func (*connection) Close() error { return nil }

const primaryAddress = address.Address("simulated.invalid:27017")

var sessionMinutes int64 = 30

func (*connection) Description() description.Server {
	return description.Server{
		Addr: primaryAddress, CanonicalAddr: primaryAddress, Kind: description.ServerKindRSPrimary,
		MaxDocumentSize: 16 << 20, MaxMessageSize: 48_000_000, MaxBatchCount: 100_000,
		SessionTimeoutMinutes: &sessionMinutes, WireVersion: &description.VersionRange{Max: 21},
	}
}

func (*connection) ID() string                 { return "simulated" }
func (*connection) ServerConnectionID() *int64 { return nil }
func (*connection) DriverConnectionID() int64  { return 0 }
func (*connection) Address() address.Address   { return primaryAddress }
func (*connection) Stale() bool                { return false }
func (*connection) OIDCTokenGenID() uint64     { return 0 }
func (*connection) SetOIDCTokenGenID(uint64)   {}
