package keycache

import (
	"fmt"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// BenchmarkGet has a case for each path through Get.
func BenchmarkGet(b *testing.B) {
	const keys = 1000
	for _, c := range []struct {
		name     string
		complete bool
		later    time.Duration
		prefix   string
		hit      bool
		front    int
	}{
		{"front=on/hit lazy", false, 0, "key-", true, 0},
		{"front=off/hit lazy", false, 0, "key-", true, -1},
		{"front=on/hit complete", true, 0, "key-", true, 0},
		{"front=off/hit complete", true, 0, "key-", true, -1},
		{"front=on/hit complete, past max age", true, time.Hour, "key-", true, 0},
		{"front=off/hit complete, past max age", true, time.Hour, "key-", true, -1},
		{"front=on/absent", true, 0, "unknown-", true, 0},
		{"front=off/absent", true, 0, "unknown-", true, -1},
		{"front=on/miss", false, 0, "unknown-", false, 0},
		{"front=off/miss", false, 0, "unknown-", false, -1},
	} {
		b.Run(c.name, func(b *testing.B) {
			now := time.Now()
			cache, err := New(Config{SizeMiB: 32, Complete: true, FrontEntries: c.front, Now: func() time.Time { return now }})
			if err != nil {
				b.Fatal(err)
			}
			cache.Open(100)
			fillForBenchmark(b, cache, keys, c.complete)
			now = now.Add(c.later)
			cache.Fresh(Freshness{AsOf: now, Processed: 100})
			hashes := make([]apikey.Hash, keys)
			for i := range hashes {
				hashes[i] = apikey.HashOf(fmt.Sprint(c.prefix, i))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, ok := cache.Get(hashes[i%keys]); ok != c.hit {
					b.Fatal("Get did not take the measured path")
				}
			}
		})
	}
}

func fillForBenchmark(b *testing.B, cache *Cache, keys int, complete bool) {
	b.Helper()
	var scan *Scan
	if complete {
		var err error
		if scan, err = cache.BeginScan(ScanIntoEmpty, 0); err != nil {
			b.Fatal(err)
		}
	}
	for i := range keys {
		name := fmt.Sprint("key-", i)
		record := &apikey.Record{KeyID: name, UserID: "user", OrgID: "org", Name: "a name", Active: true, Scopes: []string{"read", "write"}}
		if !complete {
			cache.Store(cache.Begin(), apikey.HashOf(name), Found(apikey.DocID(name), record))
			continue
		}
		scan.Add(apikey.HashOf(name), Found(apikey.DocID(name), record))
	}
	if complete {
		if err := scan.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOnDemandHit compares a hit in an on-demand store with one in a plain store.
func BenchmarkOnDemandHit(b *testing.B) {
	s := simulation{sizeMiB: 32, share: 1}
	plain, onDemand := s.stores(b)
	const keys = 1000
	hashes := make([]apikey.Hash, keys)
	for i := range hashes {
		hashes[i] = simulatedHash(i)
		plain.set(&hashes[i], make([]byte, valueBytes))
		onDemand.placeLocked(onDemand.cache, storeKey(&hashes[i]), make([]byte, valueBytes))
	}
	for _, c := range []struct {
		name string
		get  func(*apikey.Hash) []byte
	}{{"plain", plain.get}, {"on demand", onDemand.ask}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if c.get(&hashes[i%keys]) == nil {
						b.Error("not a hit")
						return
					}
				}
			})
		})
	}
}
