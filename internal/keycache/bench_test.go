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
	}{
		{"hit lazy", false, 0, "key-", true},
		{"hit complete", true, 0, "key-", true},
		{"hit complete, past max age", true, time.Hour, "key-", true},
		{"absent", true, 0, "unknown-", true},
		{"miss", false, 0, "unknown-", false},
	} {
		b.Run(c.name, func(b *testing.B) {
			now := time.Now()
			cache, err := New(Config{SizeMiB: 32, Complete: true, Now: func() time.Time { return now }})
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
		if scan, err = cache.BeginScan(ScanIntoEmpty); err != nil {
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
