package routes_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
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

// These benchmarks also run as they are in older versions of keytail, for what an
// optimisation has brought: see bench/. So they use little of it.

// noDatabase fails: what is measured here is held.
type noDatabase struct{}

var errNoDatabase = errors.New("a hit needs no database")

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

// public is the listener's handler, and a key that it knows.
func public(b *testing.B) (http.Handler, string) {
	b.Helper()
	cache, err := keycache.New(keycache.Config{SizeMiB: 64, MaxStale: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	cache.Open(1)
	cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: 1})
	key, err := apikey.Generate(apikey.DefaultPrefix, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	cache.Store(cache.Begin(), apikey.HashOf(key), keycache.Found("1", &apikey.Record{
		KeyID: "000000000000000000000001", UserID: "user-0000001", OrgID: "acme",
		Name: "continuous integration", Scopes: []string{"orders:read", "orders:write"}, Active: true,
	}))
	v, err := validator.New(validator.Config{Cache: cache, Store: noDatabase{}})
	if err != nil {
		b.Fatal(err)
	}
	handler, err := routes.NewPublic(routes.PublicConfig{Config: forwardauth.Config{Validator: v}, Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	return handler, key
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
