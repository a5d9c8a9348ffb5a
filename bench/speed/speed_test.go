// Package speed_test has the benchmarks by which bench/ shows what optimisations have
// brought. They also run, as they are, in older versions of keytail, so they use
// little of it.
package speed_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/validator"
)

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

// hold puts typical keys into the cache and returns their texts.
func hold(b *testing.B, cache *keycache.Cache) []string {
	b.Helper()
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
	return keys
}

// BenchmarkHit judges keys that are held.
func BenchmarkHit(b *testing.B) {
	v, cache := over(b, &empty{})
	keys := hold(b, cache)
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

// public is the listener's handler, and a key that it knows.
func public(b *testing.B) (http.Handler, string) {
	b.Helper()
	v, cache := over(b, &empty{})
	keys := hold(b, cache)
	handler, err := routes.NewPublic(routes.PublicConfig{Config: forwardauth.Config{Validator: v}, Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	return handler, keys[0]
}

// forgotten is an answer that nobody reads.
type forgotten struct {
	header http.Header
	status int
}

func (f *forgotten) Header() http.Header            { return f.header }
func (f *forgotten) Write(text []byte) (int, error) { return len(text), nil }
func (f *forgotten) WriteHeader(status int)         { f.status = status }

// BenchmarkForwardAuth is the handler of GET /v1/auth, without net/http's part.
func BenchmarkForwardAuth(b *testing.B) {
	handler, key := public(b)
	r := httptest.NewRequest(http.MethodGet, "/v1/auth?scope=orders:read&org_id=acme", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	b.ReportAllocs()
	for b.Loop() {
		answer := &forgotten{header: http.Header{}}
		if handler.ServeHTTP(answer, r); answer.status != http.StatusOK {
			b.Fatal("it is not allowed")
		}
	}
}

// again is a body that is read as often as it is asked for.
type again struct{ strings.Reader }

func (*again) Close() error { return nil }

// BenchmarkVerify is the handler of POST /v1/keys/verify, without net/http's part.
func BenchmarkVerify(b *testing.B) {
	handler, key := public(b)
	text := `{"key":"` + key + `","scopes":["orders:read"],"org_id":"acme"}`
	body := &again{}
	r := httptest.NewRequest(http.MethodPost, "/v1/keys/verify", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = body, int64(len(text))
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(text)
		answer := &forgotten{header: http.Header{}}
		if handler.ServeHTTP(answer, r); answer.status != http.StatusOK {
			b.Fatal("it is not answered")
		}
	}
}
