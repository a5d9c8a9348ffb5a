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
	name:    "delay",
	what:    "revocation delay: from the acknowledgement of a majority write by another client to the first refusal, of 2,000 keys, idle and while forward-auth is asked at 80 % of what it can",
	against: "a bare change stream of the driver in the same process: from the acknowledgement to the event's arrival, of the same writes; and caches with a time to live, by simulation",
	reach:   "p99 <= 1.2x",
	run:     measureDelay,
	server:  true,
}

// idleName and busyName are the two ways to measure.
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
	bare, err := listenBare(ctx, e, c)
	if err != nil {
		return err
	}
	defer bare.stop()
	picture := picture{Name: "delay", Title: "Revocation delay", X: "milliseconds", Y: "share refused", LogX: true}
	t := table{Title: "Milliseconds from the acknowledgement; 0: refused before it came", Head: []string{"", "p50", "p90", "p99", "worst"}}
	for turn, name := range []string{idleName, busyName} {
		e.say("%s", name)
		calm := func() error { return nil }
		if name == busyName {
			if calm, err = e.press(ctx, i, c.texts[2*n:]); err != nil {
				return err
			}
		}
		got, err := revoke(ctx, c, i, bare, turn*n, n)
		if err = errors.Join(err, calm()); err != nil {
			return err
		}
		for _, side := range []struct {
			name   string
			delays []float64
		}{{"keytail, first refusal, " + name, got.answered}, {"keytail, last yes, " + name, got.asked}, {"bare change stream, " + name, got.bare}} {
			slices.Sort(side.delays)
			t.Rows = append(t.Rows, delayCells(side.name, side.delays))
			picture.Series = append(picture.Series, distribution(side.name, side.delays))
		}
		bareTail := max(quantile(got.bare, 0.99), 0.01)
		r.goal(goal{Name: name + ": p99 of the first refusal to that of the bare change stream", Got: quantile(got.answered, 0.99) / bareTail, Sign: "<=", Want: 1.2, Rounds: 1})
		r.goal(goal{Name: name + ": p99 of the last yes to that of the bare change stream", Got: quantile(got.asked, 0.99) / bareTail, Sign: "<=", Want: 1.2, Rounds: 1})
	}
	for _, ttl := range []time.Duration{10 * time.Second, 60 * time.Second, 120 * time.Second} {
		name := fmt.Sprintf("cache with a time to live of %v (simulated)", ttl)
		delays := simulateTTL(ttl, n)
		t.Rows = append(t.Rows, delayCells(name, delays))
		picture.Series = append(picture.Series, distribution(name, delays))
	}
	r.table(t)
	r.plot(picture)
	r.note("keytail's first refusal is that of a key whose event has come and whose document has been read again, since an event of an update does not say whose key it is; the last yes ends when the event has come. The questions come 50 µs and a little apart.")
	r.note("The simulated caches hold every key, filled at a time that has nothing to do with the revocation, in one process: the time until the entry goes is evenly distributed over the time to live.")
	return nil
}

func delayCells(name string, sorted []float64) []string {
	cells := []string{name}
	for _, q := range []float64{0.5, 0.9, 0.99, 1} {
		cells = append(cells, fmt.Sprintf("%.2f", quantile(sorted, q)))
	}
	return cells
}

// quantile of sorted figures.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// distribution is the share of figures that are at most x, with 200 points.
func distribution(name string, sorted []float64) series {
	s := series{Name: name}
	for step := range 200 {
		share := float64(step+1) / 200
		s.X, s.Y = append(s.X, max(0.01, quantile(sorted, share))), append(s.Y, share)
	}
	return s
}

// simulateTTL draws when the entries of a cache go, in milliseconds.
func simulateTTL(ttl time.Duration, n int) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = rand.Float64() * float64(ttl.Milliseconds())
	}
	slices.Sort(all)
	return all
}

// delays are times from the acknowledgement of each write, in milliseconds.
type delays struct {
	// answered is when the first refusal came, asked when the question was asked that
	// it answers: every one before it had a yes, and none after it has.
	answered, asked []float64
	// bare is when the event came to the bare change stream.
	bare []float64
}

// revoke switches off n keys, one after the other.
func revoke(ctx context.Context, c *collection, i *instance, bare *bareStream, first, n int) (*delays, error) {
	need := auth.Request{OrgID: "acme"}
	var all delays
	for k := first; k < first+n; k++ {
		if v, err := i.Validate(ctx, c.texts[k], need); err != nil || !v.Valid() {
			return nil, fmt.Errorf("before it is revoked a key is %s: %w", v.Code, err)
		}
		id := typical(k).KeyID
		arrived := bare.expect(id)
		refused := make(chan refusal, 1)
		go func() { refused <- firstRefusal(ctx, i, c.texts[k], need, 50*time.Microsecond) }()
		_, err := c.UpdateByID(ctx, id, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
		acknowledged := time.Now()
		if err != nil {
			return nil, err
		}
		ours := <-refused
		if ours.answered.IsZero() {
			return nil, errors.New("a revoked key is still valid after a minute")
		}
		all.answered = append(all.answered, milliseconds(ours.answered.Sub(acknowledged)))
		all.asked = append(all.asked, milliseconds(ours.asked.Sub(acknowledged)))
		select {
		case at := <-arrived:
			all.bare = append(all.bare, milliseconds(at.Sub(acknowledged)))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return &all, nil
}

// refusal is the first one: when it was asked, and when it was answered.
type refusal struct{ asked, answered time.Time }

// firstRefusal asks until the key is refused, with a pause between two questions;
// zero: it is not within a minute.
func firstRefusal(ctx context.Context, i *instance, key string, need auth.Request, pause time.Duration) refusal {
	for began := time.Now(); time.Since(began) < time.Minute && ctx.Err() == nil; {
		asked := time.Now()
		if v, _ := i.Validate(ctx, key, need); !v.Valid() {
			return refusal{asked, time.Now()}
		}
		nap(pause)
	}
	return refusal{}
}

// nap sleeps for so long. In a process that does nothing else time.Sleep would take a
// whole millisecond: that is the step in which the runtime waits for the network.
func nap(pause time.Duration) {
	wait := syscall.NsecToTimespec(pause.Nanoseconds())
	_ = syscall.Nanosleep(&wait, nil) // a signal may end it early
}

// milliseconds of a delay, none of which is less than nothing.
func milliseconds(d time.Duration) float64 { return max(0, float64(d)/1e6) }

// press asks forward-auth at 80 % of what it can until the function that it returns
// is called.
func (e *env) press(ctx context.Context, i *instance, keys []string) (func() error, error) {
	a := answersOf{ask: askAuth}
	g, stop, err := a.side(ctx, i.Public(), keys, 8)
	if err != nil {
		return nil, err
	}
	most, err := g.run(ctx, e.lasting(2*time.Second))
	if err != nil {
		stop()
		return nil, err
	}
	g.pace = time.Duration(float64(g.connections) / (0.8 * most.perSecond) * float64(time.Second))
	e.say("forward-auth can %.0f a second", most.perSecond)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		got, err := g.run(ctx, time.Hour)
		if err == nil {
			e.say("it was asked %.0f a second", got.perSecond)
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

// bareStream is a change stream as the driver has it, that does nothing but note
// when an event came.
type bareStream struct {
	mutex sync.Mutex
	wait  map[string]chan time.Time
	stop  func()
}

func listenBare(ctx context.Context, e *env, c *collection) (*bareStream, error) {
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

// expect is when the next event about this document came.
func (b *bareStream) expect(id string) <-chan time.Time {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	arrived := make(chan time.Time, 1)
	b.wait[id] = arrived
	return arrived
}
