package main

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/preload"
)

var garbageRow = row{
	name:    "garbage",
	what:    "1,000,000 different unknown keys, on a complete cache and on a lazy one (--preload=off)",
	against: "a known key in the same process",
	reach:   "complete: no database read, memory flat, >= 0.9x; lazy: bounded memory, good keys keep >= 0.8x of their rate",
	run:     measureGarbage,
	server:  true,
}

func measureGarbage(ctx context.Context, e *env, r *result) error {
	c, err := e.newCollection(ctx, e.size(1000, 50))
	if err != nil {
		return err
	}
	defer c.drop()
	e.say("making unknown keys")
	unknown, err := texts(e.size(1_000_000, 5000))
	if err != nil {
		return err
	}
	if err := garbageComplete(ctx, e, c, unknown, r); err != nil {
		return err
	}
	return garbageLazy(ctx, e, c, unknown, r)
}

// garbageComplete asks about each unknown key once, and about known ones as often.
func garbageComplete(ctx context.Context, e *env, c *collection, unknown []string, r *result) error {
	w, i, err := keytailWay(ctx, e, c)
	if err != nil {
		return err
	}
	defer w.close()
	need := auth.Request{OrgID: "acme"}
	ask := func(keys []string, code auth.Code) func() (float64, error) {
		return func() (float64, error) {
			began := time.Now()
			for n := range unknown {
				if v, err := i.Validate(ctx, keys[n%len(keys)], need); v.Code != code {
					return 0, fmt.Errorf("%s, wanted %s: %w", v.Code, code, err)
				}
			}
			return float64(len(unknown)) / time.Since(began).Seconds(), nil
		}
	}
	before, finds := heap(), w.finds.Load()
	began := time.Now()
	all, err := paired(ctx, e.size(5, 1), ask(unknown, auth.NotFound), ask(c.texts, auth.Valid))
	if err != nil {
		return err
	}
	took, grown := time.Since(began), int64(heap())-int64(before)
	r.goal(all.goal("complete: rate of unknown keys to that of known ones", ">=", 0.9))
	r.goal(goal{Name: "complete: MiB that the heap has grown by meanwhile", Got: max(0.01, float64(grown)/(1<<20)), Sign: "<=", Want: 1, Rounds: 1})
	r.goal(goal{Name: "complete: reads of the database meanwhile", Got: float64(w.finds.Load() - finds), Sign: "<=", Want: 0, Rounds: 1})
	r.note(fmt.Sprintf("Complete: %d unknown keys in %v.", len(all)*len(unknown), took.Round(time.Second)))
	return nil
}

// garbageLazy asks about good keys alone, and while somebody else asks about unknown
// ones as fast as he is answered.
func garbageLazy(ctx context.Context, e *env, c *collection, unknown []string, r *result) error {
	registry := prometheus.NewRegistry()
	i, err := e.start(ctx, c, func(k *daemon.Config) { k.Preload, k.CacheSizeMiB, k.Registry = preload.Off, 16, registry })
	if err != nil {
		return err
	}
	defer i.stop()
	need := auth.Request{OrgID: "acme"}
	good := func(key string) bool {
		v, _ := i.Validate(ctx, key, need)
		return v.Valid()
	}
	for _, key := range c.texts {
		good(key)
	}
	var asked atomic.Int64
	before := heap()
	alone := func() (float64, error) { return calls(c.texts, 1, e.lasting(2*time.Second), good) }
	all, err := paired(ctx, e.size(5, 1), alone, func() (float64, error) {
		garbage, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for garbage.Err() == nil {
				_, _ = i.Validate(garbage, unknown[int(asked.Add(1))%len(unknown)], need)
			}
		}()
		defer func() { stop(); <-done }()
		return alone()
	})
	if err != nil {
		return err
	}
	// Times a call: the ratio of the rates is that of the times, turned around.
	r.goal(all.goal("lazy: rate of good keys during garbage, to theirs alone", ">=", 0.8))
	runtime.GC()
	r.goal(goal{Name: "lazy: MiB that the heap has grown by, with a cache of 16 MiB", Got: max(0.01, float64(int64(heap())-int64(before))/(1<<20)), Sign: "<=", Want: 16, Rounds: 1})
	r.note(fmt.Sprintf("Lazy: %d unknown keys were asked about during the rounds; each costs a read of the database, of which at most 96 are under way.", asked.Load()))
	return nil
}
