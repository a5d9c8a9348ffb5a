package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/bench/fleetsim"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/service"
)

// realKeys and realActive are the collection of the real instances, and how many of its keys each of them
// answers for all the time.
const (
	realKeys   = 10_000
	realActive = 200
)

// updateBytes is the size of keytail's own updates, as BSON.
type updateBytes struct{ heartbeat, use float64 }

// seenUpdates counts the updates that a server gets.
type seenUpdates struct {
	mutex                     sync.Mutex
	heartbeats, uses          int
	heartbeatBytes, usesBytes int
}

func (s *seenUpdates) observe(command bson.D) {
	if len(command) == 0 || command[0].Key != "update" {
		return
	}
	var updates bson.A
	for _, f := range command {
		if f.Key == "updates" {
			updates, _ = f.Value.(bson.A)
		}
	}
	raw, err := bson.Marshal(bson.D{{Key: "updates", Value: updates}})
	if err != nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if command[0].Value == changestream.HeartbeatCollection {
		s.heartbeats, s.heartbeatBytes = s.heartbeats+len(updates), s.heartbeatBytes+len(raw)
		return
	}
	s.uses, s.usesBytes = s.uses+len(updates), s.usesBytes+len(raw)
}

// counts are the numbers of updates so far.
func (s *seenUpdates) counts() (heartbeats, uses int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.heartbeats, s.uses
}

func (s *seenUpdates) bytes() updateBytes {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return updateBytes{float64(s.heartbeatBytes) / float64(max(1, s.heartbeats)), float64(s.usesBytes) / float64(max(1, s.uses))}
}

// measureRealFleets compares fleets in this process with the simulation, and returns the size of
// their updates.
func measureRealFleets(ctx context.Context, e *env, r *result) (updateBytes, error) {
	var seen seenUpdates
	node, err := devmongo.New(devmongo.Config{Observe: seen.observe})
	if err != nil {
		return updateBytes{}, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- node.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			e.progress("devmongo: %v", err)
		}
	}()
	own := *e // the other rows' server is not used
	own.options = &options{Quick: e.Quick, Docs: e.Docs, URI: node.URI()}
	c, err := own.newCollection(ctx, e.size(realKeys, 500))
	if err != nil {
		return updateBytes{}, err
	}
	defer c.drop()
	t := table{Title: "Real instances in this process on devmongo (measured), and the simulation of the same", Head: []string{
		"instances", "heartbeats per second", "simulated", "writes of uses per second", "simulated", "connections of each pool", "MiB of heap of each", "all complete after a loss", "simulated",
	}}
	sizes := []int{1, 10, 30}
	if e.Quick {
		sizes = []int{1, 2}
	}
	var costs fleetsim.Costs
	var d differences
	for _, n := range sizes {
		f, err := own.measureRealFleet(ctx, c, &seen, n)
		if err != nil {
			return updateBytes{}, fmt.Errorf("%d instances: %w", n, err)
		}
		if costs.InstanceRate == 0 { // the first size calibrates the scans: all share the cores of this machine
			costs.InstanceRate = float64(c.size) / f.scan.Seconds()
			costs.MemberRate = costs.InstanceRate
		}
		f.compare(n, c.size, costs, &d, &t)
	}
	d.goals(r)
	r.table(t)
	return seen.bytes(), nil
}

// realFleet is what was measured.
type realFleet struct {
	lasts            time.Duration
	heartbeats, uses float64
	pool, heap       float64
	recovery, scan   time.Duration
}

// differences are the largest factors by which fleets differ from their simulations.
type differences struct{ heartbeats, uses float64 }

func (d differences) goals(r *result) {
	r.goal(goal{Name: "heartbeats per second: the largest factor between a measured fleet and its simulation", Got: d.heartbeats, Sign: "<=", Want: 1.25, Rounds: 1})
	r.goal(goal{Name: "writes of uses per second: the largest factor between a measured fleet and its simulation", Got: d.uses, Sign: "<=", Want: 1.25, Rounds: 1})
}

// difference is the larger of two rates divided by the smaller one. A rate below one in a minute
// counts as that.
func difference(a, b float64) float64 {
	const least = 1.0 / 60
	a, b = max(a, least), max(b, least)
	return max(a/b, b/a)
}

// compare adds a measurement, and the simulation of the same, to the table and to d.
func (f *realFleet) compare(n, keys int, costs fleetsim.Costs, d *differences, t *table) {
	rates := fleetsim.Steady(fleetsim.Fleet{Instances: n, ActiveKeys: realActive, MaxStale: keycache.DefaultMaxStale}, f.lasts)
	// A loss is found by the next heartbeat: of all instances, by the end of an interval.
	recovery := fleetsim.Recover(n, 1, float64(keys), costs).Last + changestream.HeartbeatInterval(n, keycache.DefaultMaxStale)
	d.heartbeats = max(d.heartbeats, difference(f.heartbeats, rates.Heartbeats))
	d.uses = max(d.uses, difference(f.uses, rates.UsageWrites))
	t.Rows = append(t.Rows, []string{
		fmt.Sprint(n), number(f.heartbeats), number(rates.Heartbeats), number(f.uses), number(rates.UsageWrites),
		number(f.pool), number(f.heap), brief(f.recovery), brief(recovery),
	})
}

// measureRealFleet starts instances, lets them answer for some minutes, and makes all of them lose
// their history.
func (e *env) measureRealFleet(ctx context.Context, c *collection, seen *seenUpdates, n int) (*realFleet, error) {
	e.progress("%d real instances", n)
	f := &realFleet{lasts: max(time.Second, e.duration(2*time.Minute))}
	var pool poolSize
	before := heap()
	var all []*instance
	defer func() {
		for _, i := range all {
			i.stop()
		}
	}()
	for range n {
		client, err := e.connect(func(o *mongooptions.ClientOptions) {
			o.SetConnectTimeout(5 * time.Second).SetHeartbeatInterval(2 * time.Second).SetPoolMonitor(pool.monitor())
		})
		if err != nil {
			return nil, err
		}
		i, err := e.start(ctx, c, func(d *daemon.Config) {
			d.Client, d.Usage, d.CacheSizeMiB = client, service.UsageWrite, 16
		})
		if err != nil {
			disconnect(client)
			return nil, err
		}
		stop := i.stop
		i.stop = func() { stop(); disconnect(client) }
		all = append(all, i)
	}
	f.scan = all[0].Core.LastScan()
	if err := f.answer(ctx, c, all, seen); err != nil {
		return nil, err
	}
	f.heap, f.pool = float64(int64(heap())-int64(before))/float64(n)/(1<<20), float64(pool.size())/float64(n)
	return f, f.lose(ctx, c, all)
}

// answer uses the active keys of all instances each second, and counts in the second half, which begins
// later when a busy machine takes longer for the keys.
func (f *realFleet) answer(ctx context.Context, c *collection, all []*instance, seen *seenUpdates) error {
	tick := time.NewTicker(min(time.Second, f.lasts/20))
	defer tick.Stop()
	request, began := auth.Request{OrgID: "acme"}, time.Now()
	var heartbeats, uses int
	var half time.Time
	for {
		now := time.Now()
		switch {
		case half.IsZero() && now.Sub(began) >= f.lasts/2:
			half = now
			heartbeats, uses = seen.counts()
		case !half.IsZero() && now.Sub(half) >= f.lasts/2:
			b, u := seen.counts()
			took := now.Sub(half).Seconds()
			f.heartbeats, f.uses = float64(b-heartbeats)/took, float64(u-uses)/took
			return nil
		}
		for _, i := range all {
			for _, key := range c.keys[:min(realActive, len(c.keys))] {
				if v, err := i.Validate(ctx, key, request); err != nil || !v.Valid() {
					return fmt.Errorf("a valid key is refused: %v, %w", v.Code, err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// lose deletes the heartbeats of all instances, which is a loss for each of them, and waits until
// all caches are complete again.
func (f *realFleet) lose(ctx context.Context, c *collection, all []*instance) error {
	epochs := make([]uint64, len(all))
	for n, i := range all {
		epochs[n] = i.Core.Cache.Epoch()
	}
	began := time.Now()
	if _, err := c.Database().Collection(changestream.HeartbeatCollection).DeleteMany(ctx, bson.D{}); err != nil {
		return err
	}
	for n, i := range all {
		for i.Core.Cache.Epoch() == epochs[n] || !i.Core.Cache.Stats().Complete {
			if time.Since(began) > 5*time.Minute || ctx.Err() != nil {
				return fmt.Errorf("instance %d is not complete five minutes after a loss", n)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	f.recovery = time.Since(began)
	return nil
}

// poolSize counts the connections of the pools of several clients.
type poolSize struct {
	mutex sync.Mutex
	open  int
}

func (p *poolSize) monitor() *event.PoolMonitor {
	return &event.PoolMonitor{Event: func(e *event.PoolEvent) {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		switch e.Type {
		case event.ConnectionCreated:
			p.open++
		case event.ConnectionClosed:
			p.open--
		}
	}}
}

func (p *poolSize) size() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.open
}
