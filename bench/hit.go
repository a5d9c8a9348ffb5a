package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/allegro/bigcache/v3"

	"github.com/keytail/keytail/internal/apikey"
)

var hitRow = row{
	name:    "hit",
	what:    "a hit inside the process: validator.Validate on a key that is held, on one core and on all, among 1,000 and 1,000,000 keys",
	against: "SHA-256 and bigcache.Get on the same keys, with values of the same size",
	reach:   "<= 2x, at most 4 allocations; with 1,000,000 keys <= 1.2x that ratio",
	run:     measureHit,
}

func measureHit(ctx context.Context, e *env, r *result) error {
	t := table{Title: "Nanoseconds a call, medians", Head: []string{"keys", "goroutines", "Validate", "SHA-256 + bigcache.Get", "ratio", "allocations"}}
	for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
		var few ratios
		for _, n := range []int{e.size(1000, 100), e.size(1_000_000, 1000)} {
			e.say("%d keys, %d goroutines", n, workers)
			sides, err := newHitSides(n)
			if err != nil {
				return err
			}
			all, err := sides.measure(ctx, e, workers)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("%d keys, %d goroutines", n, workers)
			r.goal(all.goal(name+": time of Validate to that of SHA-256 and bigcache.Get", "<=", 2))
			r.goal(goal{Name: name + ": allocations a call", Got: sides.allocations(), Sign: "<=", Want: 4, Rounds: 1})
			if few == nil {
				few = all
			} else {
				r.goal(goal{Name: fmt.Sprintf("%d goroutines: that ratio with many keys to that with few", workers), Got: median(all) / median(few), Sign: "<=", Want: 1.2, Rounds: len(all)})
			}
			t.Rows = append(t.Rows, []string{fmt.Sprint(n), fmt.Sprint(workers), fmt.Sprintf("%.0f", median(sides.ours)), fmt.Sprintf("%.0f", median(sides.theirs)), fmt.Sprintf("%.2f", median(all)), fmt.Sprintf("%.1f", sides.allocations())})
		}
	}
	r.table(t)
	return nil
}

// hitSides are the same keys in both caches.
type hitSides struct {
	keys     []string
	validate func(key string) bool
	bare     func(key string) bool
	// ours and theirs are nanoseconds a call, of all rounds.
	ours, theirs []float64
}

func newHitSides(n int) (*hitSides, error) {
	keys, err := texts(n)
	if err != nil {
		return nil, err
	}
	size := max(64, n*600>>20*2)
	v, err := held(keys, size)
	if err != nil {
		return nil, err
	}
	bare, err := newBare(keys, size)
	if err != nil {
		return nil, err
	}
	// In an order of their own, so that neither side runs through its memory.
	rand.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	ctx, need := context.Background(), request()
	return &hitSides{keys: keys, bare: bare, validate: func(key string) bool {
		return v.Validate(ctx, key, need).Code == apikey.Valid
	}}, nil
}

// newBare is the least that finds a value by a key of which only the hash is kept.
func newBare(keys []string, sizeMiB int) (func(string) bool, error) {
	config := bigcache.DefaultConfig(24 * time.Hour)
	config.CleanWindow, config.HardMaxCacheSize, config.Verbose = 0, sizeMiB, false
	cache, err := bigcache.New(context.Background(), config)
	if err != nil {
		return nil, err
	}
	value := make([]byte, 200)
	for _, key := range keys {
		hash := sha256.Sum256([]byte(key))
		if err := cache.Set(string(hash[:]), value); err != nil {
			return nil, err
		}
	}
	return func(key string) bool {
		hash := sha256.Sum256([]byte(key))
		value, err := cache.Get(string(hash[:]))
		return err == nil && len(value) > 0
	}, nil
}

func (s *hitSides) measure(ctx context.Context, e *env, workers int) (ratios, error) {
	lasting := e.lasting(700 * time.Millisecond)
	s.ours, s.theirs = nil, nil
	side := func(call func(string) bool, into *[]float64) func() (float64, error) {
		return func() (float64, error) {
			took, err := calls(s.keys, workers, lasting, call)
			*into = append(*into, took)
			return took, err
		}
	}
	return paired(ctx, e.size(11, 1), side(s.validate, &s.ours), side(s.bare, &s.theirs))
}

// calls makes calls on so many goroutines for so long, and is the time that one
// takes on one goroutine, in nanoseconds.
func calls(keys []string, workers int, lasting time.Duration, call func(string) bool) (float64, error) {
	const batch = 256
	var total, wrong atomic.Int64
	runtime.GC()
	var group sync.WaitGroup
	began := time.Now()
	for w := range workers {
		group.Go(func() {
			at, made := len(keys)/workers*w, int64(0)
			for time.Since(began) < lasting {
				for range batch {
					if !call(keys[at]) {
						wrong.Add(1)
					}
					if at++; at == len(keys) {
						at = 0
					}
				}
				made += batch
			}
			total.Add(made)
		})
	}
	group.Wait()
	took := time.Since(began)
	if wrong.Load() > 0 {
		return 0, errors.New("a key that is held was not found")
	}
	return float64(took.Nanoseconds()) * float64(workers) / float64(total.Load()), nil
}

// allocations of one Validate.
func (s *hitSides) allocations() float64 {
	var before, after runtime.MemStats
	const n = 10_000
	runtime.ReadMemStats(&before)
	for i := range n {
		s.validate(s.keys[i%len(s.keys)])
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n
}
