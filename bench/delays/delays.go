// Package delays measures how soon a daemon refuses revoked keys while one thing at a time
// fails, and what it answers meanwhile. docs/delays.md describes the measurement and has
// its results.
package delays

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/timing"
)

const (
	// longestSettle limits how long the daemon is live before a fault: by then a heartbeat
	// has proved what the scan has read, so that events refuse keys alone.
	longestSettle = 1500 * time.Millisecond
	// longestLead limits how long the load runs before a fault and after its effects.
	longestLead = time.Second
	// recoveryTimeout is how long the daemon may take until it has recovered from a fault.
	recoveryTimeout = time.Minute
)

// Fault is something that can happen to a daemon or to its server.
type Fault struct {
	// Name is one word, such as network-cut.
	Name string
	// How says how the fault is made on this server, or why it cannot be.
	How string
	// Begin makes the fault; end ends it, also when ctx has ended. Nil, or an error
	// that wraps ErrNotPossible: the fault is not possible on this server. An end beside an
	// error is called, too: the fault may have been made in part.
	Begin func(ctx context.Context) (end func() error, err error)
	// Short: the fault has a length of its own, so end is called at once.
	Short bool
	// Effect is what the daemon must notice. A fault without it is an error.
	Effect Effect
}

// ErrNotPossible is returned by a Fault's Begin if the server refuses to make the fault.
// The outcome then says so.
var ErrNotPossible = errors.New("not possible on this server")

// Effect is what a fault does to a daemon.
type Effect int

// The effects.
const (
	// AnyEffect: unknown, or none.
	AnyEffect Effect = iota
	// Outage: answers become UNAVAILABLE, if the fault lasts longer than the maximum
	// staleness and a second.
	Outage
	// Loss: the change stream loses its history.
	Loss
)

// Config describes a run.
type Config struct {
	// MaxStale is --max-stale of the daemon.
	MaxStale time.Duration
	// For is how long a fault lasts that is not Short.
	For time.Duration
	// Rounds is how often each fault is made.
	Rounds int
	// Rate is the number of revocations per second.
	Rate int
	// Faults are made in this order.
	Faults []Fault
	// Daemon has started.
	Daemon *Daemon
	// Keys are valid keys that the run revokes, one after the other. Quiet are valid keys
	// that nobody changes.
	Keys, Quiet []string
	// Revoke switches off a key, by its index in Keys. It returns when a majority has
	// acknowledged that, or with an error when ctx has ended.
	Revoke func(ctx context.Context, key int) error
	// Progress prints a line.
	Progress func(format string, args ...any)
}

// KeysNeeded is a number of keys that suffices for a run with so many faults.
func (c *Config) KeysNeeded(faults int) int {
	perFault := 2*c.For + 2*longestLead + 3*time.Second // and what starts and recoveries take
	total := time.Duration(faults*c.Rounds)*perFault + time.Minute
	return c.Rate * int(total/time.Second)
}

// run is one run.
type run struct {
	Config
	// next is the index of the first key that is not revoked.
	next int
}

// errKeys is returned when every key is revoked.
var errKeys = errors.New("there are not enough keys for this run: the server takes too long to start or to recover")

// Run makes each fault in turn. What the daemon did wrong is in the outcome; an error means
// that the run could not be made.
func Run(ctx context.Context, c Config) (*Outcome, error) { //nolint:gocritic // once per run
	r := &run{Config: c}
	o := &Outcome{MaxStale: c.MaxStale, For: c.For, Rate: c.Rate}
	for i := range c.Faults {
		f := &c.Faults[i]
		m := &Measurement{Fault: f.Name, How: f.How}
		o.Measurements = append(o.Measurements, m)
		for range c.Rounds {
			if f.Begin == nil {
				break
			}
			err := r.measure(ctx, f, m)
			if errors.Is(err, ErrNotPossible) && m.Rounds == 0 {
				m.How = err.Error()
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		c.Progress("%v", m)
	}
	return o, nil
}

// measure makes a fault once.
func (r *run) measure(ctx context.Context, f *Fault, m *Measurement) error {
	before, err := r.Daemon.awaitLive(ctx, time.Time{}, recoveryTimeout)
	if err != nil {
		return err
	}
	timing.Sleep(ctx, min(longestSettle, r.For))
	l := r.startLoad(ctx)
	defer l.stop()
	e := episode{}
	timing.Sleep(ctx, r.lead())
	if e.began, e.ended, err = r.cause(ctx, f); err != nil {
		return err
	}
	after, err := r.Daemon.awaitLive(ctx, e.ended, recoveryTimeout)
	if err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	e.recovered = time.Now()
	e.lost = after.loss.After(before.loss)
	timing.Sleep(ctx, r.lead())
	if err := l.finish(ctx); err != nil {
		return err
	}
	m.add(&e, l, r.MaxStale)
	return m.checkEffect(f, r.For > r.MaxStale+time.Second)
}

// lead is how long the load runs before a fault and after its effects.
func (r *run) lead() time.Duration { return min(longestLead, r.For/2) }

// cause makes the fault and ends it. It ends it also when ctx has ended.
func (r *run) cause(ctx context.Context, f *Fault) (began, ended time.Time, err error) {
	began = time.Now()
	end, err := f.Begin(ctx)
	if err != nil && end != nil {
		err = errors.Join(err, end())
	}
	if err != nil {
		return began, began, err
	}
	if !f.Short {
		timing.Sleep(ctx, r.For)
	}
	if err := end(); err != nil {
		return began, began, fmt.Errorf("ending the fault: %w", err)
	}
	return began, time.Now(), ctx.Err()
}

// episode has the times of one fault.
type episode struct {
	// recovered is when the daemon was live again, with data from after the end.
	began, ended, recovered time.Time
	// lost: the change stream has lost its history.
	lost bool
}
