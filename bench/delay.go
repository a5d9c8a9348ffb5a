package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/auth"
)

var delayRow = row{
	name:         "delay",
	title:        "how soon a revoked key is refused",
	measures:     "revocation delay: the time from the acknowledgement of a majority write by another client to the first refusal of the key, for 2,000 keys, every second of which is renamed by the same write; once with keytail idle, and once with forward-auth at 80 % of its highest load",
	comparedWith: "a bare change stream of the driver in the same process: the time from the acknowledgement of the same write to the arrival of its event; and simulated caches with a time to live",
	goals:        "at most 1.2 times the p99 of the bare change stream; at most 1 % of the first refusals need a database read",
	run:          measureDelay,
	server:       true,
}

// The two loads under which the row measures.
const (
	idleName = "idle"
	busyName = "80 % load"
)

func measureDelay(ctx context.Context, e *env, r *result) error {
	n := e.size(2000, 20)
	c, err := e.newCollection(ctx, 2*n+1000)
	if err != nil {
		return err
	}
	defer c.drop()
	i, err := e.start(ctx, c)
	if err != nil {
		return err
	}
	defer i.stop()
	// An event refuses a key alone if a heartbeat has proved what was read of the key before. So
	// it does for all keys once a second has passed since the start.
	time.Sleep(2 * time.Second)
	bare, err := openBareStream(ctx, e, c)
	if err != nil {
		return err
	}
	defer bare.stop()
	chart := chart{Name: "delay", Title: "Revocation delay", X: "milliseconds", Y: "share of keys refused", LogX: true}
	t := table{Title: "Milliseconds since the acknowledgement; 0: refused before the acknowledgement arrived", Head: []string{"", "p50", "p90", "p99", "worst"}}
	for turn, name := range []string{idleName, busyName} {
		e.progress("%s", name)
		stopLoad := func() error { return nil }
		if name == busyName {
			if stopLoad, err = e.startBusyLoad(ctx, i, c.keys[2*n:]); err != nil {
				return err
			}
		}
		got, err := revoke(ctx, c, i, bare, turn*n, n)
		if err = errors.Join(err, stopLoad()); err != nil {
			return err
		}
		for _, side := range []struct {
			name   string
			delays []float64
		}{{"keytail, first refusal, " + name, got.refused}, {"keytail, first refusal by a read, " + name, got.refusedByRead}, {"keytail, last acceptance, " + name, got.accepted}, {"bare change stream, " + name, got.bare}} {
			slices.Sort(side.delays)
			t.Rows = append(t.Rows, delayCells(side.name, side.delays))
			chart.Series = append(chart.Series, distribution(side.name, side.delays))
		}
		bareTail := max(quantile(got.bare, 0.99), 0.01)
		r.goal(goal{Name: name + ": p99 delay to the first refusal, relative to the bare change stream", Got: quantile(got.refused, 0.99) / bareTail, Sign: "<=", Want: 1.2, Rounds: 1})
		r.goal(goal{Name: name + ": first refusals that needed a read, in percent", Got: 100 * float64(got.reads) / float64(len(got.refused)), Sign: "<=", Want: 1, Rounds: 1})
		r.goal(goal{Name: name + ": p99 delay to the last acceptance, relative to the bare change stream", Got: quantile(got.accepted, 0.99) / bareTail, Sign: "<=", Want: 1.2, Rounds: 1})
	}
	for _, ttl := range []time.Duration{10 * time.Second, 60 * time.Second, 120 * time.Second} {
		name := fmt.Sprintf("cache with a time to live of %v (simulated)", ttl)
		delays := simulateTTL(ttl, n)
		t.Rows = append(t.Rows, delayCells(name, delays))
		chart.Series = append(chart.Series, distribution(name, delays))
	}
	r.table(t)
	r.plot(chart)
	r.note("The event of an update that only switches a key off is enough to refuse it. If the write changes another mapped field, too, the first refusal includes a database read: keytail reads the key's document again, because the event of an update does not contain the key hash. So the second row is what every revocation would take without the first. The last acceptance ends when the event arrives. Requests are a little more than 50 µs apart.")
	r.note("The simulated caches hold every key in one process. They were filled at a time that is independent of the revocation, so the time until an entry expires is distributed evenly over the time to live.")
	return nil
}

func delayCells(name string, sorted []float64) []string {
	cells := []string{name}
	for _, q := range []float64{0.5, 0.9, 0.99, 1} {
		cells = append(cells, fmt.Sprintf("%.2f", quantile(sorted, q)))
	}
	return cells
}

// quantile returns a quantile of sorted figures.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// distribution returns the share of figures that are at most x, with 200 points.
func distribution(name string, sorted []float64) series {
	s := series{Name: name}
	for step := range 200 {
		share := float64(step+1) / 200
		s.X, s.Y = append(s.X, max(0.01, quantile(sorted, share))), append(s.Y, share)
	}
	return s
}

// simulateTTL draws the times after which entries of a cache expire, in milliseconds.
func simulateTTL(ttl time.Duration, n int) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = rand.Float64() * float64(ttl.Milliseconds())
	}
	slices.Sort(all)
	return all
}

// revocationDelays are times from the acknowledgement of each write, in milliseconds.
type revocationDelays struct {
	// refused is when the first refusal arrived, refusedByRead the same for keys that
	// the write also renames, accepted when its request was sent: keytail accepted every
	// request before it.
	refused, refusedByRead, accepted []float64
	// reads is how many of refused needed a database read.
	reads int
	// bare is when the event arrived at the bare change stream.
	bare []float64
}

// revoke disables n keys, one after the other, and measures the delays.
func revoke(ctx context.Context, c *collection, i *instance, bare *bareStream, first, n int) (*revocationDelays, error) {
	request := auth.Request{OrgID: "acme"}
	var all revocationDelays
	for k := first; k < first+n; k++ {
		if v, err := i.Validate(ctx, c.keys[k], request); err != nil || !v.Valid() {
			return nil, fmt.Errorf("a key is %s before its revocation: %w", v.Code, err)
		}
		id := sampleRecord(k).KeyID
		arrived := bare.expect(id)
		refused := make(chan refusal, 1)
		go func() { refused <- firstRefusal(ctx, i, c.keys[k], request, 50*time.Microsecond) }()
		renamed := k%2 == 1
		change := bson.D{{Key: "is_active", Value: false}}
		if renamed {
			change = append(change, bson.E{Key: "name", Value: "revoked"})
		}
		_, err := c.UpdateByID(ctx, id, bson.D{{Key: "$set", Value: change}})
		acknowledged := time.Now()
		if err != nil {
			return nil, err
		}
		ours := <-refused
		if ours.received.IsZero() {
			return nil, errors.New("a revoked key is still valid after one minute")
		}
		if delay := milliseconds(ours.received.Sub(acknowledged)); renamed {
			all.refusedByRead = append(all.refusedByRead, delay)
		} else {
			all.refused = append(all.refused, delay)
			if ours.source != auth.SourceCache {
				all.reads++
			}
		}
		all.accepted = append(all.accepted, milliseconds(ours.sent.Sub(acknowledged)))
		select {
		case at := <-arrived:
			all.bare = append(all.bare, milliseconds(at.Sub(acknowledged)))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return &all, nil
}

// refusal has the times at which the first refused request was sent, and at which its
// response was received, and where its data came from.
type refusal struct {
	sent, received time.Time
	source         auth.Source
}

// firstRefusal sends requests until one is refused, with a pause between two requests.
// It returns zero times if none is refused within one minute.
func firstRefusal(ctx context.Context, i *instance, key string, request auth.Request, pause time.Duration) refusal {
	for began := time.Now(); time.Since(began) < time.Minute && ctx.Err() == nil; {
		sent := time.Now()
		if v, _ := i.Validate(ctx, key, request); !v.Valid() {
			return refusal{sent, time.Now(), v.Source}
		}
		sleepPrecisely(pause)
	}
	return refusal{}
}

// sleepPrecisely sleeps for the pause. In an idle process time.Sleep would take a whole
// millisecond, because the runtime waits for the network in steps of that length.
func sleepPrecisely(pause time.Duration) {
	wait := syscall.NsecToTimespec(pause.Nanoseconds())
	_ = syscall.Nanosleep(&wait, nil) // a signal may interrupt it
}

// milliseconds returns a delay in milliseconds, and 0 for a negative one.
func milliseconds(d time.Duration) float64 { return max(0, float64(d)/1e6) }

// startBusyLoad sends forward-auth requests at 80 % of the highest rate, until the
// returned function is called.
func (e *env) startBusyLoad(ctx context.Context, i *instance, keys []string) (func() error, error) {
	g, stop, err := serveAuth(ctx, i.Public(), keys, 8)
	if err != nil {
		return nil, err
	}
	highest, err := g.run(ctx, e.duration(2*time.Second))
	if err != nil {
		stop()
		return nil, err
	}
	g.pace = time.Duration(float64(g.connections) / (0.8 * highest.perSecond) * float64(time.Second))
	e.progress("highest rate of forward-auth: %.0f requests per second", highest.perSecond)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		got, err := g.run(ctx, time.Hour)
		if err == nil {
			e.progress("actual rate of forward-auth: %.0f requests per second", got.perSecond)
		}
		done <- err
	}()
	return func() error {
		defer stop()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}, nil
}

// bareStream is a change stream of the driver that only records when events arrive.
type bareStream struct {
	mutex sync.Mutex
	wait  map[string]chan time.Time
	stop  func()
}

func openBareStream(ctx context.Context, e *env, c *collection) (*bareStream, error) {
	client, err := e.connect()
	if err != nil {
		return nil, err
	}
	stream, err := client.Database(c.Database().Name()).Collection(c.Name()).Watch(ctx, mongo.Pipeline{}, mongooptions.ChangeStream().SetMaxAwaitTime(time.Second))
	if err != nil {
		disconnect(client)
		return nil, err
	}
	b := &bareStream{wait: map[string]chan time.Time{}}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for stream.Next(ctx) {
			b.arrived(stream.Current, time.Now())
		}
	}()
	b.stop = func() { cancel(); <-done; _ = stream.Close(context.WithoutCancel(ctx)); disconnect(client) }
	return b, nil
}

func (b *bareStream) arrived(event bson.Raw, at time.Time) {
	id, _ := event.Lookup("documentKey", "_id").StringValueOK()
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if waiting := b.wait[id]; waiting != nil {
		waiting <- at
		delete(b.wait, id)
	}
}

// expect returns a channel that receives the arrival time of the next event about this
// document.
func (b *bareStream) expect(id string) <-chan time.Time {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	arrived := make(chan time.Time, 1)
	b.wait[id] = arrived
	return arrived
}
