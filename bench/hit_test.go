package main

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// BenchmarkHit compares a hit with the front, a hit without it, and SHA-256 with bigcache.Get, with
// 1,000 keys and with a million that are requested by Zipf's law:
//
//	go test -run '^$' -bench '^BenchmarkHit$' -count 10 . | benchstat -col /side -
func BenchmarkHit(b *testing.B) {
	for _, c := range []struct {
		name        string
		keys, draws int
	}{{"keys=1000", 1000, 0}, {"keys=1M,zipf", 1_000_000, 2_000_000}} {
		b.Run(c.name, func(b *testing.B) { benchmarkHits(b, c.keys, c.draws) })
	}
}

// benchmarkHits requests each key in turn, or so many keys that are drawn.
func benchmarkHits(b *testing.B, n, draws int) {
	keys, err := generateKeys(n)
	if err != nil {
		b.Fatal(err)
	}
	requested := keys
	if draws > 0 {
		requested = drawZipf(keys, draws)
	}
	for _, side := range hitBenchmarks(b, keys) {
		for _, key := range requested {
			side.call(key)
		}
		b.Run("side="+side.name, func(b *testing.B) {
			b.ReportAllocs()
			// Short runs do not all begin with the same keys, which would then be in every processor's cache.
			for i := rand.IntN(len(requested)); b.Loop(); i++ {
				if !side.call(requested[i%len(requested)]) {
					b.Fatal("a cached key was not found")
				}
			}
		})
	}
}

type hitBenchmark struct {
	name string
	call func(key string) bool
}

func hitBenchmarks(b *testing.B, keys []string) []hitBenchmark {
	b.Helper()
	with, err := newHitSides(keys)
	if err != nil {
		b.Fatal(err)
	}
	v, err := newCachedValidator(keys, hitSizeMiB(len(keys)), withoutFront)
	if err != nil {
		b.Fatal(err)
	}
	held := &cache{entries: map[apikey.Hash]cached{}, ttl: time.Hour}
	for i, key := range keys {
		record := sampleRecord(i)
		held.put(apikey.HashOf(key), &document{ID: record.KeyID, User: record.UserID, Org: record.OrgID, Scopes: record.Scopes, Active: true})
	}
	ctx, request := context.Background(), sampleRequest()
	return []hitBenchmark{
		{"front", with.validate},
		{"no-front", func(key string) bool { return v.Validate(ctx, key, request).Code == apikey.Valid }},
		{"bare", with.bare},
		{"ttl-map", func(key string) bool { d := held.get(apikey.HashOf(key)); return d != nil && d.allows() }},
	}
}
