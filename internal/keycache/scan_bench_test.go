package keycache

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// BenchmarkScan loads a million typical keys. An operation is one key, as Scan.Add takes it. The heap is
// that of the scan before it ends, with the cache that it has filled.
func BenchmarkScan(b *testing.B) {
	const keys = 1_000_000
	hashes, ids := make([]apikey.Hash, keys), make([]apikey.DocID, keys)
	for i := range hashes {
		hashes[i] = typicalHash(i)
		ids[i] = typical(i, 0).ID
	}
	record := typical(0, 0).Record
	for _, c := range []struct {
		name    string
		unique  bool
		kind    ScanKind
		overlay int
	}{
		{"unique", true, ScanIntoEmpty, 0},
		{"unique, overlay in use", true, ScanIntoEmpty, 10_000},
		{"not unique", false, ScanIntoEmpty, 0},
		{"in place", true, ScanInPlace, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			held := 0.
			for done := 0; done < b.N; done += keys {
				b.StopTimer()
				cache, err := New(Config{Complete: true})
				if err != nil {
					b.Fatal(err)
				}
				cache.Open(1)
				if c.kind == ScanInPlace {
					scanForBenchmark(b, cache, ScanIntoEmpty, true, hashes, ids, record)
				}
				for i := range c.overlay {
					h := apikey.HashOf(fmt.Sprint("other-", i))
					cache.overlay.set(&h, make([]byte, 150))
				}
				before := heapBytes()
				b.StartTimer()
				s := beginForBenchmark(b, cache, c.kind, c.unique, keys)
				n := min(keys, b.N-done)
				for i := range n {
					s.Add(hashes[i], Found(ids[i], record))
				}
				b.StopTimer()
				if n == keys {
					held = float64(int64(heapBytes()-before)) / keys
				}
				runtime.KeepAlive(s)
				b.StartTimer()
			}
			b.ReportMetric(held, "held-B/key")
		})
	}
}

func beginForBenchmark(b *testing.B, cache *Cache, kind ScanKind, unique bool, keys int) *Scan {
	b.Helper()
	s, err := cache.BeginScan(kind, int64(keys))
	if err != nil {
		b.Fatal(err)
	}
	if unique {
		s.IndexIsUnique()
	}
	return s
}

func scanForBenchmark(b *testing.B, cache *Cache, kind ScanKind, unique bool, hashes []apikey.Hash, ids []apikey.DocID, record *apikey.Record) {
	b.Helper()
	s := beginForBenchmark(b, cache, kind, unique, len(hashes))
	for i := range hashes {
		s.Add(hashes[i], Found(ids[i], record))
	}
	if err := s.Finish(); err != nil {
		b.Fatal(err)
	}
}
