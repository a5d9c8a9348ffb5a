package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/bench/delays"
	"github.com/keytail/keytail/internal/timing"
)

type delaysCommand struct {
	Servers  []string          `name:"server" default:"devmongo,secantus" enum:"devmongo,secantus" help:"The servers to start and to measure with. Ignored with --uri."`
	Only     []string          `placeholder:"FAULT" help:"Make only these faults. Results are not saved."`
	MaxStale time.Duration     `default:"5s" help:"--max-stale of the daemon: shorter than its default, so that faults exceed it."`
	For      time.Duration     `default:"8s" help:"How long a fault lasts that has no length of its own."`
	Rounds   int               `default:"1" help:"How often each fault is made."`
	Binary   string            `placeholder:"FILE" help:"The daemon to measure. Default: it is built from this repository."`
	Rate     int               `default:"20" help:"Revocations per second."`
	Fault    map[string]string `name:"fault-command" mapsep:"none" placeholder:"FAULT=COMMAND" help:"A shell command that makes this fault. Its variable PRIMARY is the host:port of the primary."`
	Heal     map[string]string `name:"heal-command" mapsep:"none" placeholder:"FAULT=COMMAND" help:"A shell command that ends this fault, with the same PRIMARY. Without one the fault ends by itself."`
}

// errDelays is what the command ends with when it has printed what is wrong.
var errDelays = errors.New("answers broke a guarantee; they are listed above")

// With --quick a fault is too short to exceed the maximum staleness.
const quickMaxStale, quickFor = 500 * time.Millisecond, 300 * time.Millisecond

// check refuses what cannot be measured.
func (c *delaysCommand) check() error {
	if c.MaxStale < 100*time.Millisecond || c.For < 100*time.Millisecond || c.Rounds < 1 || c.Rate < 1 {
		return errors.New("--max-stale and --for must be at least 100ms, --rounds and --rate at least 1")
	}
	for name := range c.Heal {
		if c.Fault[name] == "" {
			return fmt.Errorf("--heal-command names %s: name the command that makes it with --fault-command", name)
		}
	}
	named := slices.Clone(c.Only)
	for name := range c.Fault {
		named = append(named, name)
	}
	for _, name := range named {
		if !slices.ContainsFunc(knownFaults, func(f knownFault) bool { return f.name == name }) {
			return fmt.Errorf("there is no fault %q: the faults are %s", name, strings.Join(faultNames(), ", "))
		}
	}
	return nil
}

// Run measures with each server, prints and saves the results, and fails if an answer broke
// a guarantee.
func (c *delaysCommand) Run(ctx context.Context, o *options) error {
	if err := c.check(); err != nil {
		return err
	}
	if o.Quick {
		c.MaxStale, c.For, c.Rounds = quickMaxStale, quickFor, 1
	}
	servers := c.Servers
	if o.URI != "" {
		servers = []string{externalServer}
	}
	var failures []error
	for _, name := range servers {
		r, err := c.measure(ctx, o, name)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
			continue
		}
		failures = append(failures, c.finish(r, o))
	}
	return errors.Join(failures...)
}

// finish prints a result, saves it, and writes the page. A result that breaks a guarantee is
// saved, too.
func (c *delaysCommand) finish(r *delaysResult, o *options) error {
	fmt.Printf("## %s\n\n%s\n", r.Title, r.markdown())
	var failures []error
	if len(r.Outcome.Failures()) > 0 {
		failures = append(failures, errDelays)
	}
	if !o.Quick && len(c.Only) == 0 {
		failures = append(failures, r.save(delaysDir(o.Docs)), writeDelaysPage(o.Docs))
	}
	return errors.Join(failures...)
}

// measure measures with one server.
func (c *delaysCommand) measure(ctx context.Context, o *options, name string) (*delaysResult, error) {
	e, err := newEnv(o, "delays, "+name)
	if err != nil {
		return nil, err
	}
	defer e.close()
	began := time.Now()
	server, err := startDelaysServer(ctx, e, name)
	if err != nil {
		return nil, err
	}
	defer server.close()
	r := &delaysResult{At: began.UTC().Truncate(time.Second), Machine: machine(ctx), ID: server.id, Title: server.title}
	r.Machine.Server = server.title
	if r.Outcome, err = c.run(ctx, e, server); err != nil && ctx.Err() == nil {
		err = errors.Join(err, e.keepLog())
	}
	if err != nil {
		return nil, err
	}
	r.Took = time.Since(began).Round(time.Second)
	return r, nil
}

// run starts a daemon on the server, and makes the faults.
func (c *delaysCommand) run(ctx context.Context, e *env, s *delaysServer) (*delays.Outcome, error) {
	config := delays.Config{MaxStale: c.MaxStale, For: c.For, Rounds: c.Rounds, Rate: c.Rate, Progress: e.progress}
	const quiet = 50
	config.Faults = c.chooseFaults(s)
	keys := config.KeysNeeded(len(config.Faults))
	own := *e // a collection on this server
	own.options = &options{URI: s.uri, Quick: e.Quick, Docs: e.Docs}
	own.row = "delays"
	collection, err := own.newCollection(ctx, keys+quiet)
	if err != nil {
		return nil, err
	}
	defer collection.drop()
	collection.shared = e.URI != "" // a server of the run's own need not be cleared
	config.Keys, config.Quiet = collection.keys[:keys], collection.keys[keys:]
	writer, err := own.connect(writerOptions)
	if err != nil {
		return nil, err
	}
	defer disconnect(writer)
	revoked := writer.Database(collection.Database().Name()).Collection(collection.Name(), mongooptions.Collection().SetWriteConcern(writeconcern.Majority()))
	config.Revoke = func(ctx context.Context, key int) error {
		return keepTrying(ctx, func(ctx context.Context) error {
			_, err := revoked.UpdateByID(ctx, sampleRecord(key).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
			return err
		})
	}
	if s.daemon, err = c.startDaemon(ctx, e, s, collection.Database().Name()); err != nil {
		return nil, err
	}
	defer s.daemon.Kill9() // a clean stop would write the last uses, and nobody reads them
	config.Daemon = s.daemon
	return delays.Run(ctx, config)
}

// startDaemon builds the daemon and starts it, behind the proxy if there is one.
func (c *delaysCommand) startDaemon(ctx context.Context, e *env, s *delaysServer, database string) (*delays.Daemon, error) {
	binary, err := daemonBinary(ctx, e, c.Binary)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(e.daemonDir(), 0o700); err != nil {
		return nil, err
	}
	return delays.StartDaemon(ctx, child.Config{
		Binary: binary, Dir: e.daemonDir(), URI: s.daemonURI, Database: database,
		Args: []string{"--max-stale=" + c.MaxStale.String(), "--cache-size=64"},
	})
}

// attemptTimeout is how long one attempt to write may take, and the pause after one that
// failed.
const attemptTimeout, attemptPause = 2 * time.Second, 20 * time.Millisecond

// writerOptions are those of a client that finds a new primary soon, and whose writes may
// all wait at the same time.
func writerOptions(o *mongooptions.ClientOptions) {
	o.SetConnectTimeout(attemptTimeout).SetServerSelectionTimeout(attemptTimeout).SetHeartbeatInterval(500 * time.Millisecond).SetMaxPoolSize(1000).SetAppName("bench writer")
}

// delaysDir is the directory of the results.
func delaysDir(docs string) string { return filepath.Join(docs, "bench", "delays") }

// keepTrying repeats a write until it succeeds or ctx ends.
func keepTrying(ctx context.Context, write func(context.Context) error) error {
	for {
		once, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := write(once)
		cancel()
		if err == nil || !timing.Sleep(ctx, attemptPause) {
			return err
		}
	}
}
