package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
)

var scanRow = row{
	name:         "scan",
	title:        "loading all keys, at the speed of a real server",
	measures:     "a preload of 1,000,000 keys from a server that only replays documents: as fast as a mongod (one in 0.7 µs), and as fast as the memory",
	comparedWith: "a bare cursor that reads the raw documents",
	goals:        "at most 3 times the time",
	run:          measureScan,
}

// mongodPace is the time that a mongod 4.4 takes for one document of a bare cursor: it
// returned a million in 0.75 s.
const mongodPace = 700 * time.Nanosecond

func measureScan(ctx context.Context, e *env, r *result) error {
	n := e.size(1_000_000, 2000)
	t := table{
		Title: "A million keys, medians",
		Head:  []string{"server", "keytail, s", "bare cursor, s", "keytail, CPU s", "bare cursor, CPU s", "allocations per key", "bytes per key"},
	}
	for _, speed := range []struct {
		name string
		pace time.Duration
	}{{"at the speed of a mongod", mongodPace}, {"as fast as the memory", 0}} {
		m, err := measureScanAt(ctx, e, n, speed.pace)
		if err != nil {
			return err
		}
		r.goal(m.all.goal("time "+speed.name+", relative to the bare cursor", "<=", 3))
		t.Rows = append(t.Rows, m.row(speed.name, n))
	}
	r.table(t)
	r.note("The server is in the same process, so its work, CPU time and allocations count on both sides. keytail's time is that from the beginning of the preload to a complete cache; of it, up to 0.1 s is waiting until the change stream has passed the scan.")
	return nil
}

// scanTimes are the figures of one speed, one for each round.
type scanTimes struct {
	all                              ratios
	ours, theirs, oursCPU, theirsCPU []float64 // seconds
	allocs, memory                   []float64
}

func (m *scanTimes) row(name string, n int) []string {
	figure := func(values []float64, scale float64) string { return fmt.Sprintf("%.2f", median(values)*scale) }
	return []string{name, figure(m.ours, 1), figure(m.theirs, 1), figure(m.oursCPU, 1), figure(m.theirsCPU, 1), figure(m.allocs, 1/float64(n)), fmt.Sprintf("%.0f", median(m.memory)/float64(n))}
}

func measureScanAt(ctx context.Context, e *env, n int, pace time.Duration) (*scanTimes, error) {
	server, err := newReplayServer(ctx, n, pace)
	if err != nil {
		return nil, err
	}
	defer server.close()
	client, err := server.connect()
	if err != nil {
		return nil, err
	}
	defer disconnect(client)
	m := &scanTimes{}
	m.all, err = comparePair(ctx, e.size(5, 1), func() (float64, error) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		cpu := cpuTime()
		took, err := preloadOnce(ctx, client, n)
		m.oursCPU = append(m.oursCPU, (cpuTime() - cpu).Seconds())
		runtime.ReadMemStats(&after)
		m.ours = append(m.ours, took.Seconds())
		m.allocs = append(m.allocs, float64(after.Mallocs-before.Mallocs))
		m.memory = append(m.memory, float64(after.TotalAlloc-before.TotalAlloc))
		e.progress("preload of %d keys: %v", n, took)
		return took.Seconds(), err
	}, func() (float64, error) {
		runtime.GC()
		cpu := cpuTime()
		took, err := readAll(ctx, client.Database("bench").Collection("api_keys"), n)
		m.theirsCPU = append(m.theirsCPU, (cpuTime() - cpu).Seconds())
		m.theirs = append(m.theirs, took.Seconds())
		e.progress("bare cursor: %v", took)
		return took.Seconds(), err
	})
	return m, err
}

// preloadOnce fills a cache as a service does when it starts.
func preloadOnce(ctx context.Context, client *mongo.Client, n int) (time.Duration, error) {
	cache, err := keycache.New(keycache.Config{SizeMiB: max(64, n*1000>>20), MaxStale: time.Hour, Complete: true})
	if err != nil {
		return 0, err
	}
	cache.Open(1)
	cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: 1})
	store, err := keystore.New(keystore.Config{Client: client, Database: "bench"})
	if err != nil {
		return 0, err
	}
	loader, err := preload.New(preload.Config{Cache: cache, Store: store, CacheBytes: cache.GenerationBytes(), UniqueIndex: func(context.Context) bool { return true }})
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithTimeout(ctx, 5*time.Minute)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- loader.Run(ctx) }()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !cache.Stats().Complete && ctx.Err() == nil {
		<-ticker.C
		cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: 1}) // as heartbeats do
	}
	took := time.Since(began)
	stop()
	if err := <-done; err != nil {
		return 0, err
	}
	if entries := cache.Stats().Entries; entries != n {
		return 0, fmt.Errorf("%d of %d keys are in the cache", entries, n)
	}
	return took, nil
}
