package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/allegro/bigcache/v3"

	"github.com/keytail/keytail/internal/apikey"
)

var hitRow = row{
	name:         "hit",
	title:        "a cache hit in the process",
	measures:     "a cache hit inside the process: validator.Validate with a cached key, on one core and on all cores, with 1,000 keys in the cache, and with 1,000,000 that are requested by Zipf's law (exponent 1) and each in turn",
	comparedWith: "SHA-256 and bigcache.Get on the same keys, with values of the same size",
	goals:        "with 1,000 keys at most the same time, and no allocation; with 1,000,000 keys by Zipf's law at most 1.3 times, and each in turn at most 2 times the time and 4 allocations",
	run:          measureHit,
}

// relativeToBareHit is the end of the name of a goal.
const relativeToBareHit = ": time of Validate, relative to SHA-256 and bigcache.Get"

// hitCase is a way in which the keys of a cache are requested.
type hitCase struct {
	name string
	keys int
	// zipf: by Zipf's law with the exponent 1. False: each in turn.
	zipf bool
	// ratio and allocations are the goals.
	ratio, allocations float64
}

func measureHit(ctx context.Context, e *env, r *result) error {
	t := table{Title: "Nanoseconds per call, medians", Head: []string{"keys", "goroutines", "Validate", "SHA-256 + bigcache.Get", "ratio", "allocations"}}
	few, many := e.size(1000, 100), e.size(1_000_000, 1000)
	for _, c := range []hitCase{
		{name: fmt.Sprintf("%d keys", few), keys: few, ratio: 1, allocations: 0.05},
		{name: fmt.Sprintf("%d keys by Zipf's law", many), keys: many, zipf: true, ratio: 1.3, allocations: 2},
		{name: fmt.Sprintf("%d keys in turn", many), keys: many, ratio: 2, allocations: 4},
	} {
		keys, err := generateKeys(c.keys)
		if err != nil {
			return err
		}
		sides, err := newHitSides(keys)
		if err != nil {
			return err
		}
		if c.zipf {
			sides.requested = drawZipf(keys, 2*len(keys))
		}
		for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
			name := fmt.Sprintf("%s, %s", c.name, goroutines(workers))
			e.progress("%s", name)
			all, err := sides.measure(ctx, e, workers)
			if err != nil {
				return err
			}
			r.goal(all.goal(name+relativeToBareHit, "<=", c.ratio))
			r.goal(goal{Name: name + ": allocations per call", Got: sides.allocations(), Sign: "<=", Want: c.allocations, Rounds: 1})
			t.Rows = append(t.Rows, []string{c.name, fmt.Sprint(workers), fmt.Sprintf("%.0f", median(sides.ours)), fmt.Sprintf("%.0f", median(sides.theirs)), fmt.Sprintf("%.2f", median(all)), fmt.Sprintf("%.2f", sides.allocations())})
		}
	}
	r.table(t)
	return nil
}

// goroutines returns n with its noun.
func goroutines(n int) string {
	if n == 1 {
		return "1 goroutine"
	}
	return fmt.Sprintf("%d goroutines", n)
}

// hitSides are the two sides, with the same keys in both caches.
type hitSides struct {
	// requested are the keys in the order of the requests.
	requested []string
	validate  func(key string) bool
	bare      func(key string) bool
	// ours and theirs are the nanoseconds per call of each round.
	ours, theirs []float64
}

// hitSizeMiB is the size of a cache for n keys.
func hitSizeMiB(n int) int { return max(64, n*600>>20*2) }

func newHitSides(keys []string) (*hitSides, error) {
	size := hitSizeMiB(len(keys))
	v, err := newCachedValidator(keys, size)
	if err != nil {
		return nil, err
	}
	bare, err := newBare(keys, size)
	if err != nil {
		return nil, err
	}
	// Shuffled, so that neither side reads its memory in sequence.
	keys = slices.Clone(keys)
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	ctx, request := context.Background(), sampleRequest()
	return &hitSides{requested: keys, bare: bare, validate: func(key string) bool {
		return v.Validate(ctx, key, request).Code == apikey.Valid
	}}, nil
}

// newBare returns the smallest function that finds a value by the hash of a key.
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
	duration := e.duration(700 * time.Millisecond)
	s.ours, s.theirs = nil, nil
	side := func(call func(string) bool, into *[]float64) func() (float64, error) {
		return func() (float64, error) {
			took, err := timePerCall(s.requested, workers, duration, call)
			*into = append(*into, took)
			return took, err
		}
	}
	return comparePair(ctx, e.size(11, 1), side(s.validate, &s.ours), side(s.bare, &s.theirs))
}

// timePerCall makes calls on several goroutines for the duration, and returns the time
// of one call on one goroutine, in nanoseconds. Each makes a batch of calls at least, however late it begins.
func timePerCall(keys []string, workers int, duration time.Duration, call func(string) bool) (float64, error) {
	const batch = 256
	var total, wrong atomic.Int64
	runtime.GC()
	var group sync.WaitGroup
	began := time.Now()
	for w := range workers {
		group.Go(func() {
			at, made := len(keys)/workers*w, int64(0)
			for made == 0 || time.Since(began) < duration {
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
		return 0, errors.New("a cached key was not found")
	}
	return float64(took.Nanoseconds()) * float64(workers) / float64(total.Load()), nil
}

// allocations returns the allocations of one call of Validate.
func (s *hitSides) allocations() float64 {
	var before, after runtime.MemStats
	const n = 100_000
	runtime.ReadMemStats(&before)
	for i := range n {
		s.validate(s.requested[i%len(s.requested)])
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n
}
