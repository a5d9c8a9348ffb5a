package validator

import (
	"context"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// touches is a UsageRecorder that keeps what it is given.
type touches []touch

type touch struct {
	id apikey.DocID
	at time.Time
}

func (l *touches) Record(id apikey.DocID, at time.Time) { *l = append(*l, touch{id, at}) }

// TestEachValidAnswerIsAUse, from every source, and no other answer is a use.
func TestEachValidAnswerIsAUse(t *testing.T) {
	var got touches
	r := newRig(t, func(c *Config) { c.Usage = &got })
	r.store.put(apikey.HashOf(text), keystore.Document{ID: "d1", Record: apikey.Record{KeyID: "k1", UserID: "u1", Active: true, Scopes: []string{"read"}}})
	ask := func(want apikey.Code, source apikey.Source, scopes ...string) {
		t.Helper()
		r.clock.advance(time.Millisecond)
		before := len(got)
		v := r.Validate(context.Background(), text, &apikey.Request{Scopes: scopes})
		if v.Code != want || v.Source != source {
			t.Fatalf("%v by %v, want %v by %v", v.Code, v.Source, want, source)
		}
		switch {
		case want != apikey.Valid && len(got) != before:
			t.Errorf("%v by %v is a use", want, source)
		case want == apikey.Valid && (len(got) != before+1 || got[before] != touch{"d1", r.clock.Now()}):
			t.Errorf("by %v: noted %v", source, got[before:])
		}
	}
	ask(apikey.Valid, apikey.SourceLinearizable)
	r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
	ask(apikey.Valid, apikey.SourceDirect)
	r.cache.Open(100)
	ask(apikey.Valid, apikey.SourceFill)
	ask(apikey.Valid, apikey.SourceCache)
	ask(apikey.InsufficientPermissions, apikey.SourceCache, "write")
	if v := r.Validate(context.Background(), text+"x", &apikey.Request{}); v.Code != apikey.NotFound || len(got) != 4 {
		t.Errorf("%v, and %d uses", v.Code, len(got))
	}
}
