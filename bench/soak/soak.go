// Package soak runs a keytail daemon at load with faults for a while, and decides whether
// memory, goroutines and descriptors stay flat and no answer breaks the guarantee.
// docs/soak.md describes the load, the faults and the rule.
package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/bench/network"
	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// MaxStale is --max-stale of the daemon: short, so that faults exceed it.
	MaxStale = 5 * time.Second
	// pool is maxPoolSize of the daemon. The pool does not shrink after the load.
	pool = 20
	// interval is the time between two samples.
	interval = time.Second
	// cacheMiB is --cache-size, and auditInterval --audit-interval of the daemon. Both are
	// small, so that the cache is full and rebuilt often within a run.
	cacheMiB, auditInterval = 24, 30 * time.Second
	// checkDelay is how old answers are when they are checked: all writes that they may
	// have seen are recorded by then.
	checkDelay = 2 * writeTimeout
)

// ShortestRun has time for each kind of fault, and its warm-up is longer than anything that
// a client can hold: half a gRPC call, 20 s.
const ShortestRun = 90 * time.Second

// Server is a server that may be killed.
type Server interface {
	Kill9()
	// Reopen starts it again, with its data.
	Reopen() error
}

// Config describes a run.
type Config struct {
	// For is how long the load lasts.
	For time.Duration
	// Rate is the number of requests per second.
	Rate int
	// Keys is the number of keys that nobody changes.
	Keys int
	// Seed decides the faults and the load. The same seed gives the same faults.
	Seed uint64
	// URI is the connection string of the server. Server is the server itself, if it may
	// be killed; nil: it may not.
	URI    string
	Server Server
	// Binary is the daemon's program, and Dir a directory for its files.
	Binary, Dir string
	// Progress is called after each sample. Nil: nobody looks.
	Progress func(Sample, string)
}

// run is one run.
type run struct {
	Config
	outcome    *Outcome
	recorder   *recorder
	history    *nemesis.History
	collection *mongo.Collection
	network    *network.Proxy
	daemon     *child.Daemon
	scraper    *http.Client
	began      time.Time
	fault      chan string
}

// Run runs the daemon at load. An error means that the run could not be made, or that the
// daemon ended; what keytail did wrong is in the outcome.
func Run(ctx context.Context, c Config) (*Outcome, error) {
	r := &run{
		began:  time.Now(),
		Config: c, outcome: &Outcome{}, recorder: newRecorder(), history: nemesis.NewHistory(), fault: make(chan string, 1),
		scraper: &http.Client{Timeout: callTimeout},
	}
	client, err := mongo.Connect(options.Client().ApplyURI(c.URI).SetServerSelectionTimeout(2 * writeTimeout).SetConnectTimeout(writeTimeout))
	if err != nil {
		return nil, err
	}
	database := client.Database(fmt.Sprintf("soak_%x", time.Now().UnixNano()))
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*writeTimeout)
		defer cancel()
		_ = errors.Join(database.Drop(ctx), client.Disconnect(ctx)) // the outcome does not depend on it
	}()
	r.collection = database.Collection("api_keys", options.Collection().SetWriteConcern(writeconcern.Majority()))
	if r.network, err = network.Open(c.URI, map[string]string{"maxPoolSize": strconv.Itoa(pool)}); err != nil {
		return nil, err
	}
	defer r.network.Stop()
	// Before the daemon, so that its first scan has them: it counts no key that is new since then.
	quiet, err := insertQuiet(ctx, r.collection, r.history, r.Keys)
	if err != nil {
		return nil, err
	}
	if err := r.startDaemon(ctx); err != nil {
		return nil, err
	}
	err = r.soak(ctx, quiet)
	if ctx.Err() != nil {
		// Ctrl-C on a terminal is also a signal to the daemon, and a second one ends it at once.
		r.daemon.Kill()
		return nil, context.Cause(ctx)
	}
	return r.outcome, errors.Join(err, r.daemon.Stop())
}

func (r *run) startDaemon(ctx context.Context) error {
	var err error
	r.daemon, err = child.Start(ctx, child.Config{
		Binary: r.Binary, Dir: r.Dir, URI: r.network.URI, Database: r.collection.Database().Name(),
		Args: []string{
			"--max-stale=" + MaxStale.String(), fmt.Sprintf("--cache-size=%d", cacheMiB), "--audit-interval=" + auditInterval.String(),
			"--decision-log=" + filepath.Join(r.Dir, "decisions"),
		},
	})
	return err
}

// soak runs the load on a daemon that has started. quiet are the keys that nobody changes.
func (r *run) soak(ctx context.Context, quiet []key) error {
	if err := r.awaitLive(ctx); err != nil {
		return err
	}
	l, err := newLoad(r.daemon, r.recorder, &keys{history: r.history, quiet: quiet}, r.Seed)
	if err != nil {
		return err
	}
	if r.outcome.Before, err = scrape(ctx, r.scraper, r.daemon.Operations); err != nil {
		return err
	}
	r.began = time.Now()
	loading, end := context.WithTimeout(ctx, r.For)
	defer end()
	l.start(loading, r.Rate)
	for i := range writers {
		w := newWriter(l, r.collection, rand.New(rand.NewPCG(r.Seed, uint64(1000+i)))) //nolint:gosec // a repeatable load
		l.every(loading, writePace, func(ctx context.Context, _ *rand.Rand) { w.write(ctx) })
	}
	injected := make(chan error, 1)
	kinds := faults(r.network, r.Server)
	go func() {
		injected <- inject(loading, plan(r.Seed, r.For*9/10, kinds), kinds, r.history, func(kind string) { r.fault <- kind })
	}()
	err = errors.Join(r.sampleUntilEnd(loading, injected), context.Cause(ctx))
	end()
	l.stop()
	if err != nil {
		return err
	}
	r.judge()
	return r.rest(ctx)
}

// awaitLive returns when every quiet key is in the cache.
func (r *run) awaitLive(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the daemon is not live within a minute"))
	defer cancel()
	for timing.Sleep(ctx, interval/4) {
		var state struct {
			State    string
			Complete bool
			Entries  int
		}
		l := load{client: r.scraper}
		if _, err := l.json(ctx, http.MethodGet, r.daemon.Operations, "/readyz?strict=1", "", nil, &state); err == nil &&
			state.State == "live" && state.Complete && state.Entries >= r.Keys {
			return nil
		}
	}
	return context.Cause(ctx)
}

// sampleUntilEnd takes the samples and checks answers, until the load and the faults end.
func (r *run) sampleUntilEnd(ctx context.Context, injected <-chan error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last, fault := r.began, ""
	for {
		select {
		case fault = <-r.fault:
			continue
		case <-r.daemon.Done():
			return fmt.Errorf("the daemon has ended with exit code %d; its log ends with:\n%s", r.daemon.ExitCode(), r.daemon.LogTail())
		case err := <-injected:
			if injected = nil; err != nil {
				return err
			}
			continue
		case <-ctx.Done():
			return r.drainFaults(injected)
		case <-ticker.C:
		}
		s, err := scrape(ctx, r.scraper, r.daemon.Operations)
		if err != nil {
			if ctx.Err() == nil {
				r.recorder.wrongf("scrape: %v", err)
			}
			continue
		}
		now := time.Now()
		r.recorder.sample(&s, now.Sub(last))
		s.At, last = now.Sub(r.began), now
		r.outcome.Samples = append(r.outcome.Samples, s)
		r.history.CheckUntil(MaxStale+2*wireRounding, now.Add(-checkDelay))
		if r.Progress != nil {
			r.Progress(s, fault)
		}
	}
}

// drainFaults waits until the last fault is repaired.
func (r *run) drainFaults(injected <-chan error) error {
	for injected != nil {
		select {
		case <-r.fault:
		case err := <-injected:
			return err
		}
	}
	return nil
}

// judge fills in what the load has shown.
func (r *run) judge() {
	o := r.outcome
	for _, resource := range Resources {
		o.Trends = append(o.Trends, trend(o.Samples, resource))
	}
	o.Violations = r.history.Check(MaxStale + 2*wireRounding)
	o.Totals = r.history.Totals()
	o.Outside, o.Inside = r.history.Delays([]string{instanceName})
	for _, f := range r.history.Faults() {
		o.Faults = append(o.Faults, FaultSpan{f.Kind, f.From.Sub(r.began), f.To.Sub(r.began)})
	}
	r.recorder.report(o)
	if info, err := os.Stat(filepath.Join(r.Dir, "log")); err == nil {
		o.LogBytes = info.Size()
	}
}

// restTimeout is more than any limit of keytail for what a client has left behind.
const restTimeout = time.Minute

// rest waits until the daemon has returned what the load needed, and notes what it keeps.
func (r *run) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	o := r.outcome
	for {
		s, err := scrape(ctx, r.scraper, r.daemon.Operations)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			o.After, o.Leaks = s, kept(&o.Before, &s)
		}
		if len(o.Leaks) == 0 || !timing.Sleep(ctx, interval) {
			return nil
		}
	}
}
