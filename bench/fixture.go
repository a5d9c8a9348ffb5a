package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/validator"
)

// texts makes so many keys.
func texts(n int) ([]string, error) {
	all := make([]string, n)
	for i := range all {
		var err error
		if all[i], err = apikey.Generate(apikey.DefaultPrefix, rand.Reader); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// typical is the record of the i-th key: what a service has, about 200 bytes as a
// document.
func typical(i int) *apikey.Record {
	return &apikey.Record{
		KeyID: fmt.Sprintf("%024x", i), UserID: fmt.Sprintf("user-%07d", i%100_000), OrgID: "acme",
		Name: "continuous integration", Scopes: []string{"orders:read", "orders:write"}, Active: true,
	}
}

// request is what typical keys are asked about.
func request() *apikey.Request {
	return &apikey.Request{Scopes: []string{"orders:read"}, OrgID: "acme"}
}

// liveCache is a cache that believes what it is given, and holds nothing yet.
func liveCache(sizeMiB int) (*keycache.Cache, error) {
	cache, err := keycache.New(keycache.Config{SizeMiB: sizeMiB, MaxStale: time.Hour})
	if err != nil {
		return nil, err
	}
	cache.Open(1)
	cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: 1})
	return cache, nil
}

// held is a validator over a live cache that holds all keys, without a database:
// for the cost of a hit alone.
func held(keys []string, sizeMiB int) (*validator.Validator, error) {
	cache, err := liveCache(sizeMiB)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		record := typical(i)
		cache.Store(cache.Begin(), apikey.HashOf(key), keycache.Found(apikey.DocID(record.KeyID), record))
	}
	return validator.New(validator.Config{Cache: cache, Store: noDatabase{}})
}

// noDatabase fails every read, so that a benchmark of hits that misses is none.
type noDatabase struct{}

var errNoDatabase = errors.New("there is no database here: what is measured must be held")

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
