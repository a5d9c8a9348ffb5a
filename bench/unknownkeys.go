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

var unknownKeysRow = row{
	name:         "unknown-keys",
	title:        "requests with keys that do not exist",
	measures:     "requests with 1,000,000 different unknown keys, to a complete cache and to a lazy cache (--preload=off)",
	comparedWith: "known keys in the same process",
	goals:        "complete cache: no database read, no growing memory, at least 0.9 times the requests per second; lazy cache: bounded memory, and known keys keep at least 0.8 times their requests per second",
	run:          measureUnknownKeys,
	server:       true,
}

func measureUnknownKeys(ctx context.Context, e *env, r *result) error {
	c, err := e.newCollection(ctx, e.size(1000, 50))
	if err != nil {
		return err
	}
	defer c.drop()
	e.progress("generating unknown keys")
	unknown, err := generateKeys(e.size(1_000_000, 5000))
	if err != nil {
		return err
	}
	if err := unknownOnCompleteCache(ctx, e, c, unknown, r); err != nil {
		return err
	}
	return unknownOnLazyCache(ctx, e, c, unknown, r)
}

// unknownOnCompleteCache validates each unknown key once, and as many known keys.
func unknownOnCompleteCache(ctx context.Context, e *env, c *collection, unknown []string, r *result) error {
	w, i, err := startCounted(ctx, e, c)
	if err != nil {
		return err
	}
	defer w.close()
	request := auth.Request{OrgID: "acme"}
	ask := func(keys []string, code auth.Code) func() (float64, error) {
		return func() (float64, error) {
			began := time.Now()
			for n := range unknown {
				if v, err := i.Validate(ctx, keys[n%len(keys)], request); v.Code != code {
					return 0, fmt.Errorf("got %s, want %s: %w", v.Code, code, err)
				}
			}
			return float64(len(unknown)) / time.Since(began).Seconds(), nil
		}
	}
	before, finds := heap(), w.finds.Load()
	began := time.Now()
	all, err := comparePair(ctx, e.size(5, 1), ask(unknown, auth.NotFound), ask(c.keys, auth.Valid))
	if err != nil {
		return err
	}
	took, grown := time.Since(began), int64(heap())-int64(before)
	r.goal(all.goal("complete cache: requests with unknown keys per second, relative to known keys", ">=", 0.9))
	r.goal(goal{Name: "complete cache: growth of the heap, in MiB", Got: max(0.01, float64(grown)/(1<<20)), Sign: "<=", Want: 1, Rounds: 1})
	r.goal(goal{Name: "complete cache: database reads", Got: float64(w.finds.Load() - finds), Sign: "<=", Want: 0, Rounds: 1})
	r.note(fmt.Sprintf("Complete cache: %d requests with unknown keys in %v.", len(all)*len(unknown), took.Round(time.Second)))
	return nil
}

// unknownOnLazyCache validates known keys alone, and while another goroutine validates
// unknown keys as fast as it can.
func unknownOnLazyCache(ctx context.Context, e *env, c *collection, unknown []string, r *result) error {
	registry := prometheus.NewRegistry()
	i, err := e.start(ctx, c, func(d *daemon.Config) { d.Preload, d.CacheSizeMiB, d.Registry = preload.Off, 16, registry })
	if err != nil {
		return err
	}
	defer i.stop()
	request := auth.Request{OrgID: "acme"}
	known := func(key string) bool {
		v, _ := i.Validate(ctx, key, request)
		return v.Valid()
	}
	for _, key := range c.keys {
		known(key)
	}
	var sent atomic.Int64
	before := heap()
	alone := func() (float64, error) { return timePerCall(c.keys, 1, e.duration(2*time.Second), known) }
	all, err := comparePair(ctx, e.size(5, 1), alone, func() (float64, error) {
		unknownCtx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for unknownCtx.Err() == nil {
				_, _ = i.Validate(unknownCtx, unknown[int(sent.Add(1))%len(unknown)], request)
			}
		}()
		defer func() { stop(); <-done }()
		return alone()
	})
	if err != nil {
		return err
	}
	// Both figures are times per call, so the ratio of the rates is alone/busy.
	r.goal(all.goal("lazy cache: requests with known keys per second while unknown keys arrive, relative to known keys alone", ">=", 0.8))
	runtime.GC()
	r.goal(goal{Name: "lazy cache: growth of the heap in MiB, with a cache of 16 MiB", Got: max(0.01, float64(int64(heap())-int64(before))/(1<<20)), Sign: "<=", Want: 16, Rounds: 1})
	r.note(fmt.Sprintf("Lazy cache: %d requests with unknown keys during the rounds. Each costs a database read; at most 92 reads run at the same time.", sent.Load()))
	return nil
}
