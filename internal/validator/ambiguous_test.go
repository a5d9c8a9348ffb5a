package validator

import (
	"context"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// twins is a collection in which a second document has the hash of a valid one:
// a read by the hash finds both, a read by _id finds one.
type twins struct{ *fakeStore }

func (s twins) FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error) {
	d, found, err := s.fakeStore.FindByHash(ctx, h, after)
	return disabled(d), found, err
}

func (s twins) FindLinearizable(ctx context.Context, h apikey.Hash) (keystore.Document, bool, error) {
	d, found, err := s.fakeStore.FindLinearizable(ctx, h)
	return disabled(d), found, err
}

// disabled is the result of keystore.Store for two documents.
func disabled(d keystore.Document) keystore.Document {
	d.Ambiguous, d.Record.Active, d.Record.Defect = true, false, "shares its hash with another document"
	return d
}

// TestAKeyWithTwoDocumentsIsReadForEachRequest: a refresh of one of the
// documents, which does not see the other, does not make the key a hit.
func TestAKeyWithTwoDocumentsIsReadForEachRequest(t *testing.T) {
	r := live(t, func(c *Config) { c.Store = twins{c.Store.(*fakeStore)} })
	r.store.put(hash, document("u1"))
	reads := 0
	mustRead := func(when string) {
		t.Helper()
		for range 2 {
			mustBe(t, r.validate(), apikey.Disabled, apikey.SourceFill)
			if reads++; r.store.count() != reads {
				t.Fatalf("%s: %d reads, want %d", when, r.store.count(), reads)
			}
		}
	}
	mustRead("at first")
	r.cache.Apply(&keycache.Change{ID: "d1", Time: 110, Refresh: true})
	r.refresh(t.Context(), r.batchFrom(<-r.cache.Refreshes()))
	if len(r.store.batches) != 1 {
		t.Fatal("no refresh")
	}
	mustRead("after a refresh")
	r.clock.advance(keycache.DefaultMaxStale + 1)
	mustBe(t, r.validate(), apikey.Disabled, apikey.SourceLinearizable)
}
