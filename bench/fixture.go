package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sort"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/validator"
)

// generateKeys generates n keys.
func generateKeys(n int) ([]string, error) {
	all := make([]string, n)
	for i := range all {
		var err error
		if all[i], err = apikey.Generate(apikey.DefaultPrefix, rand.Reader); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// sampleRecord returns the record of the i-th key. It has the fields of a typical
// service, about 200 bytes as a document.
func sampleRecord(i int) *apikey.Record {
	return &apikey.Record{
		KeyID: fmt.Sprintf("%024x", i), UserID: fmt.Sprintf("user-%07d", i%100_000), OrgID: "acme",
		Name: "continuous integration", Scopes: []string{"orders:read", "orders:write"}, Active: true,
	}
}

// sampleRequest returns a request that the sample records allow.
func sampleRequest() *apikey.Request {
	return &apikey.Request{Scopes: []string{"orders:read"}, OrgID: "acme"}
}

// withoutFront makes each hit one of the byte store.
func withoutFront(c *keycache.Config) { c.FrontEntries = -1 }

// drawZipf returns keys as they are requested: the k-th most frequent with a frequency proportional
// to 1/k (Zipf's law with the exponent 1).
func drawZipf(keys []string, draws int) []string {
	sums := make([]float64, len(keys))
	for i := range keys {
		sums[i] = 1 / float64(i+1)
		if i > 0 {
			sums[i] += sums[i-1]
		}
	}
	all := make([]string, draws)
	for i := range all {
		all[i] = keys[sort.SearchFloat64s(sums, mathrand.Float64()*sums[len(sums)-1])]
	}
	return all
}

// newFreshCache returns an empty cache whose entries stay valid for an hour.
func newFreshCache(sizeMiB int, change ...func(*keycache.Config)) (*keycache.Cache, error) {
	config := keycache.Config{SizeMiB: sizeMiB, MaxStale: time.Hour, Complete: true}
	for _, f := range change {
		f(&config)
	}
	cache, err := keycache.New(config)
	if err != nil {
		return nil, err
	}
	cache.Open(1)
	cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: 1})
	return cache, nil
}

// newCachedValidator returns a validator with all keys in its cache and without a
// database, so that a benchmark measures cache hits alone.
func newCachedValidator(keys []string, sizeMiB int, change ...func(*keycache.Config)) (*validator.Validator, error) {
	cache, err := newFreshCache(sizeMiB, change...)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		record := sampleRecord(i)
		cache.Store(cache.Begin(), apikey.HashOf(key), keycache.Found(apikey.DocID(record.KeyID), record))
	}
	return validator.New(validator.Config{Cache: cache, Store: noDatabase{}})
}

// noDatabase fails every read, so that a benchmark of cache hits fails on a cache miss.
type noDatabase struct{}

var errNoDatabase = errors.New("cache miss in a benchmark without a database: check that all keys are cached")

func (noDatabase) FindByHash(context.Context, apikey.Hash, clustertime.Time) (keystore.Document, bool, error) {
	return keystore.Document{}, false, errNoDatabase
}

func (noDatabase) FindByIDs(context.Context, []apikey.DocID, clustertime.Time) ([]keystore.Document, error) {
	return nil, errNoDatabase
}

func (noDatabase) FindLinearizable(context.Context, apikey.Hash) (keystore.Document, bool, error) {
	return keystore.Document{}, false, errNoDatabase
}

func (noDatabase) Inspect(context.Context) error { return errNoDatabase }
