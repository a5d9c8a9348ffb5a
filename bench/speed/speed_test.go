// Package speed_test has the benchmarks that bench/ uses to measure the effect of
// optimisations. They also have to compile with older versions of keytail, so they use
// few of its names.
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

// empty is an empty database that counts its reads.
type empty struct{ reads atomic.Int64 }

func (e *empty) FindByHash(context.Context, apikey.Hash, clustertime.Time) (keystore.Document, bool, error) {
	return keystore.Document{}, false, errors.New("cache miss in a benchmark of cache hits")
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
	return keystore.Document{}, false, errors.New("cache miss in a benchmark of cache hits")
}

func (e *empty) Inspect(context.Context) error { return nil }

// newValidator returns a validator with the store, and its cache.
func newValidator(b *testing.B, store validator.Store) (*validator.Validator, *keycache.Cache) {
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

// fill stores sample keys in the cache and returns their texts.
func fill(b *testing.B, cache *keycache.Cache) []string {
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

// BenchmarkHit validates cached keys.
func BenchmarkHit(b *testing.B) {
	v, cache := newValidator(b, &empty{})
	keys := fill(b, cache)
	ctx, need := context.Background(), &apikey.Request{Scopes: []string{"orders:read"}, OrgID: "acme"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if v.Validate(ctx, keys[i%len(keys)], need).Code != apikey.Valid {
			b.Fatal("a cached key is not valid")
		}
	}
}

// BenchmarkRefresh reads 100 updated documents.
func BenchmarkRefresh(b *testing.B) {
	store := &empty{}
	v, cache := newValidator(b, store)
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

// newPublic returns the handler of the public listener, and a key in its cache.
func newPublic(b *testing.B) (http.Handler, string) {
	b.Helper()
	v, cache := newValidator(b, &empty{})
	keys := fill(b, cache)
	handler, err := routes.NewPublic(routes.PublicConfig{Config: forwardauth.Config{Validator: v}, Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	return handler, keys[0]
}

// discard is a ResponseWriter that keeps only the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header            { return d.header }
func (d *discard) Write(text []byte) (int, error) { return len(text), nil }
func (d *discard) WriteHeader(status int)         { d.status = status }

// BenchmarkForwardAuth is the handler of GET /v1/auth, without net/http's part.
func BenchmarkForwardAuth(b *testing.B) {
	handler, key := newPublic(b)
	r := httptest.NewRequest(http.MethodGet, "/v1/auth?scope=orders:read&org_id=acme", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	b.ReportAllocs()
	for b.Loop() {
		response := &discard{header: http.Header{}}
		if handler.ServeHTTP(response, r); response.status != http.StatusOK {
			b.Fatal("the request was refused")
		}
	}
}

// reusedBody is a request body that can be read repeatedly.
type reusedBody struct{ strings.Reader }

func (*reusedBody) Close() error { return nil }

// BenchmarkVerify is the handler of POST /v1/keys/verify, without net/http's part.
func BenchmarkVerify(b *testing.B) {
	handler, key := newPublic(b)
	text := `{"key":"` + key + `","scopes":["orders:read"],"org_id":"acme"}`
	body := &reusedBody{}
	r := httptest.NewRequest(http.MethodPost, "/v1/keys/verify", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = body, int64(len(text))
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(text)
		response := &discard{header: http.Header{}}
		if handler.ServeHTTP(response, r); response.status != http.StatusOK {
			b.Fatal("the request failed")
		}
	}
}
