package validator_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/validator"
)

// These benchmarks also run as they are in older versions of keytail, for what an
// optimisation has brought: see bench/. So they use little of it.

// empty is a database that holds nothing, and counts how often it is asked.
type empty struct{ reads atomic.Int64 }

func (e *empty) FindByHash(context.Context, apikey.Hash, clustertime.Time) (keystore.Document, bool, error) {
	return keystore.Document{}, false, errors.New("a hit needs no database")
}

func (e *empty) FindByID(context.Context, apikey.DocID, clustertime.Time) (keystore.Document, bool, error) {
	e.reads.Add(1)
	return keystore.Document{}, false, nil
}

func (e *empty) FindByIDs(context.Context, []apikey.DocID, clustertime.Time) ([]keystore.Document, error) {
	e.reads.Add(1)
	return nil, nil
}

func (e *empty) FindLinearizable(context.Context, apikey.Hash) (keystore.Document, bool, error) {
	return keystore.Document{}, false, errors.New("a hit needs no database")
}

func (e *empty) Inspect(context.Context) error { return nil }

func over(b *testing.B, store validator.Store) (*validator.Validator, *keycache.Cache) {
	b.Helper()
	cache, err := keycache.New(keycache.Config{SizeMiB: 64, MaxStale: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	cache.Open(1)
	cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: 1})
	v, err := validator.New(validator.Config{Cache: cache, Store: store})
	if err != nil {
		b.Fatal(err)
	}
	return v, cache
}

// BenchmarkHit judges keys that are held.
func BenchmarkHit(b *testing.B) {
	v, cache := over(b, &empty{})
	keys := make([]string, 1000)
	for i := range keys {
		var err error
		if keys[i], err = apikey.Generate(apikey.DefaultPrefix, rand.Reader); err != nil {
			b.Fatal(err)
		}
		record := &apikey.Record{
			KeyID: fmt.Sprintf("%024x", i), UserID: fmt.Sprintf("user-%07d", i), OrgID: "acme",
			Name: "continuous integration", Scopes: []string{"orders:read", "orders:write"}, Active: true,
		}
		cache.Store(cache.Begin(), apikey.HashOf(keys[i]), keycache.Found(apikey.DocID(record.KeyID), record))
	}
	ctx, need := context.Background(), &apikey.Request{Scopes: []string{"orders:read"}, OrgID: "acme"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if v.Validate(ctx, keys[i%len(keys)], need).Code != apikey.Valid {
			b.Fatal("it is not valid")
		}
	}
}

// BenchmarkRefresh reads what 100 updates have touched.
func BenchmarkRefresh(b *testing.B) {
	store := &empty{}
	v, cache := over(b, store)
	rounds := 0
	for b.Loop() {
		rounds++
		for i := range 100 {
			cache.Apply(&keycache.Change{ID: apikey.DocID(fmt.Sprint("d", i)), Time: clustertime.Time(rounds + 1), Refresh: true})
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- v.RunRefresh(ctx) }()
		for len(cache.Refreshes()) > 0 {
			runtime.Gosched()
		}
		stop()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(store.reads.Load())/float64(rounds), "reads/op")
}
