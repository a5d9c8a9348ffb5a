package simulation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/validator"
)

// settings are the configuration of a run.
type settings struct {
	maxStale    time.Duration
	scope       changestream.Scope
	preload     preload.Mode
	slots       int
	queue       int
	oplog       int
	uniqueIndex bool
	audits      time.Duration
	maxAge      time.Duration
	// writes are the longest pauses between two changes of a writer.
	writes []time.Duration
	// faults is how long faults are injected.
	faults time.Duration
}

func newSettings(c chance) settings {
	s := settings{
		maxStale: pick(c, []time.Duration{3 * time.Second, 3 * time.Second, 6 * time.Second, 15 * time.Second}),
		scope:    changestream.ScopeDatabase, preload: preload.On, slots: 1 << 12, queue: 64, oplog: 1000, uniqueIndex: c.in(0.5),
		audits: c.between(5*time.Second, 40*time.Second), maxAge: 10 * time.Minute, faults: 45 * time.Second,
	}
	if c.in(0.25) {
		s.scope = changestream.ScopeCollection
	}
	if c.in(0.25) {
		s.preload = preload.Off
	}
	if c.in(0.2) {
		s.slots = 1 << c.IntN(4)
	}
	if c.in(0.2) {
		s.queue = 1 + c.IntN(3)
	}
	if c.in(0.3) {
		s.oplog = 20 + c.IntN(50)
	}
	if c.in(0.3) {
		s.maxAge = c.between(2*time.Second, 20*time.Second)
	}
	s.writes = []time.Duration{20 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second}
	if c.in(0.5) { // then the cache has time to become complete, and to stay it
		s.writes = []time.Duration{20 * time.Millisecond, 5 * time.Second, 20 * time.Second, 20 * time.Second}
	}
	return s
}

// core is what is tested: an instance of keytail, without its surfaces.
type core struct {
	cache     *keycache.Cache
	store     *keystore.Store
	heart     *changestream.Heartbeater
	tail      *changestream.Tail
	loader    *preload.Loader
	validator *validator.Validator
}

// newCore wires the core as package service does.
func newCore(w *world) (*core, error) {
	c, s := &core{}, w.settings
	client, err := connect(w.net, program)
	if err != nil {
		return nil, err
	}
	db := mongoclient.Database(client, database)
	schema := keystore.DefaultSchema()
	var errs [6]error
	c.cache, errs[0] = keycache.New(keycache.Config{
		SizeMiB: 4, MaxStale: s.maxStale, MaxAge: s.maxAge, Slots: s.slots, SlotSeed: w.seed | 1, Complete: s.preload != preload.Off,
		RefreshQueue: s.queue, FrontEntries: 256, Now: w.now,
	})
	c.store, errs[1] = keystore.New(keystore.Config{Client: client, Database: database})
	c.heart, errs[2] = changestream.NewHeartbeater(changestream.HeartbeaterConfig{
		Database: db, Collection: schema.Collection, InstanceName: "simulated", MaxStale: s.maxStale,
	})
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	index, err := keystore.NewIndexWatch(keystore.IndexWatchConfig{Store: c.store})
	if err != nil {
		return nil, err
	}
	logger := newTraceLogger(w)
	maxAwait, watchdog := changestream.TimeoutsFor(s.maxStale)
	c.tail, errs[3] = changestream.New(changestream.Config{
		Database: db, Scope: s.scope, Schema: schema, Sink: sink{w, c.cache}, Collection: c.store, Heartbeater: c.heart,
		MaxAwait: s.scope.MaxAwait(maxAwait, s.maxStale), Watchdog: watchdog,
		LastScan: func() time.Duration { return c.loader.LastScan() },
		OnLoss: func(reason changestream.Reason) {
			w.count(func(c *counts) { c.losses++ })
			w.trace("tail: lost its history: %s", reason)
		},
		Random: w.random("tail"), Logger: logger,
	})
	c.loader, errs[4] = preload.New(preload.Config{
		Cache: c.cache, Store: c.store, Heartbeater: c.heart, UniqueIndex: index.Check, Observer: observer{w}, Mode: s.preload,
		AuditInterval: s.audits, RebuildPause: 3 * time.Second, RetryPause: time.Second, Random: w.random("loader"), Logger: logger,
	})
	c.validator, errs[5] = validator.New(validator.Config{Cache: c.cache, Store: c.store, Hasher: c.store.Hasher(), Heartbeater: c.heart, Logger: logger})
	return c, errors.Join(errs[:]...)
}

// run starts the goroutines of the core, each at a moment of its own.
func (c *core) run(ctx context.Context, w *world) (stopped *sync.WaitGroup) {
	stopped = &sync.WaitGroup{}
	chance := w.dice.next("start")
	for _, run := range []func(context.Context) error{c.heart.Run, c.tail.Run, c.loader.Run, c.validator.RunRefresh} {
		time.Sleep(chance.between(time.Microsecond, 20*time.Millisecond))
		stopped.Go(func() { _ = run(ctx) })
	}
	return stopped
}

// random is a source of random numbers for one goroutine.
func (w *world) random(name string) func() float64 { return w.dice.next("random of " + name).Float64 }

// now is the cache's clock. Wherever the cache reads it, its goroutine may be interrupted, as by a busy machine.
func (w *world) now() time.Time {
	c := w.dice.at("clock", uint64(time.Since(began)))
	switch {
	case c.in(0.01):
		time.Sleep(c.between(time.Millisecond, 200*time.Millisecond))
	case c.in(0.1):
		time.Sleep(c.between(time.Microsecond, time.Millisecond))
	}
	return time.Now()
}

// pause interrupts a goroutine, so that others that it has woken run first.
func (w *world) pause(name string) {
	c := w.dice.next("pause of " + name)
	most := 100 * time.Microsecond
	if c.in(0.05) {
		most = 100 * time.Millisecond
	}
	time.Sleep(c.between(time.Microsecond, most))
}

// sink is the cache, and a pause after each call.
type sink struct {
	world *world
	cache *keycache.Cache
}

func (s sink) Lose() bool {
	lost := s.cache.Lose()
	s.world.pause("the tail")
	return lost
}

func (s sink) Open(floor clustertime.Time) {
	s.world.trace("tail: opens at %v", floor)
	s.world.pause("the tail")
	s.cache.Open(floor)
	s.world.pause("the tail")
}

func (s sink) Apply(change *keycache.Change) {
	s.cache.Apply(change)
	s.world.trace("tail: applies %s %v", change.ID, change.Time)
	s.world.pause("the tail")
}

func (s sink) Fresh(f keycache.Freshness) {
	s.cache.Fresh(f)
	s.world.trace("tail: fresh as of %s, processed %v", clock(f.AsOf), f.Processed)
	s.world.pause("the tail")
}
