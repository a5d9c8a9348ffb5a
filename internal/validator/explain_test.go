package validator

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
)

// explained is what Explain returns for the key of this package's tests.
func (r *rig) explained(request apikey.Request) (instance, database apikey.Verdict) {
	return r.Explain(context.Background(), hash, &request)
}

// TestExplainIsWhatValidateAnswers: the same code, reason and source, whatever the state
// of the instance, on a twin that Explain has not touched.
func TestExplainIsWhatValidateAnswers(t *testing.T) {
	for name, prepare := range map[string]func(r *rig){
		"no freshness yet": func(*rig) {},
		"no history": func(r *rig) {
			r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
		},
		"a miss": func(r *rig) {
			r.cache.Open(100)
			r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
		},
		"a hit": func(r *rig) {
			r.cache.Open(100)
			r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
			r.validate()
		},
		"a hit that grows old": func(r *rig) {
			r.cache.Open(100)
			r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
			r.validate()
			r.clock.advance(10 * time.Second)
		},
		"stale": func(r *rig) {
			r.cache.Open(100)
			r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
			r.validate()
			r.clock.advance(time.Minute)
		},
	} {
		for _, request := range []apikey.Request{{}, {Scopes: []string{"read"}}, {OrgID: "other"}, {RequireOrg: true}} {
			bound := document("u1")
			bound.Record.OrgID = "acme"
			at := time.Now()
			twin := func() *rig {
				r := newRig(t)
				r.clock.now = at
				r.store.put(hash, bound)
				prepare(r)
				return r
			}
			want := twin().Validate(context.Background(), text, &request)
			got, database := twin().explained(request)
			if got.Code != want.Code || got.Reason != want.Reason || got.Source != want.Source || got.Staleness != want.Staleness || got.Revision != want.Revision {
				t.Errorf("%s, %+v: explained %+v, answered %+v", name, request, got, want)
			}
			if database.Code != want.Code || database.Reason != want.Reason {
				t.Errorf("%s, %+v: the database gives %v because of %q", name, request, database.Code, database.Reason)
			}
		}
	}
}

// TestExplainShowsAChangeThatHasNotArrived: the entry is still valid, and its age grows
// while the stream is stalled.
func TestExplainShowsAChangeThatHasNotArrived(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("u1"))
	r.validate()
	off := document("u1")
	off.Record.Active = false
	r.store.put(hash, off)
	for seconds := range 3 {
		instance, database := r.explained(apikey.Request{})
		mustBe(t, instance, apikey.Valid, apikey.SourceCache)
		mustBe(t, database, apikey.Disabled, apikey.SourceLinearizable)
		if instance.Reason != (apikey.Reason{}) || database.Reason.String() != "inactive" {
			t.Errorf("reasons %q and %q", instance.Reason, database.Reason)
		}
		if want := time.Duration(seconds) * time.Second; instance.Staleness != want || !database.AsOf.Equal(r.clock.Now()) {
			t.Errorf("staleness %v, want %v; the database as of %v", instance.Staleness, want, database.AsOf)
		}
		r.clock.advance(time.Second)
	}
	r.cache.Apply(&keycache.Change{ID: "d1", Time: 101})
	instance, _ := r.explained(apikey.Request{})
	mustBe(t, instance, apikey.Disabled, apikey.SourceFill)
}

// TestExplainCountsAsNoRequest: neither a use of the key, nor a verdict, nor an outage.
func TestExplainCountsAsNoRequest(t *testing.T) {
	var used touches
	registry := prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.Usage, c.Registerer, c.MaxReads = &used, registry, 1 })
	r.cache.Open(100)
	r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
	r.store.put(hash, document("u1"))
	counted := func() (sum float64) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "keytail_verdicts_total" || family.GetName() == "keytail_unavailable_total" {
				for _, m := range family.GetMetric() {
					sum += m.GetCounter().GetValue()
				}
			}
		}
		return sum
	}
	for range 3 {
		if instance, _ := r.explained(apikey.Request{}); instance.Code != apikey.Valid {
			t.Fatalf("got %v", instance.Code)
		}
	}
	if n := testutil.ToFloat64(r.metrics.reads.WithLabelValues(string(kindExplain), "found")); n != 3 {
		t.Errorf("%v reads of the kind explain, want 3", n)
	}
	r.store.mutex.Lock()
	r.store.err, r.store.linearErr = errors.New("no primary"), errors.New("no primary")
	r.store.mutex.Unlock()
	if instance, database := r.Explain(context.Background(), apikey.HashOf("another-key"), &apikey.Request{}); instance.Code != apikey.Unavailable || database.Code != apikey.Unavailable {
		t.Errorf("%v and %v, although the database does not answer", instance.Code, database.Code)
	}
	if len(used) != 0 || counted() != 0 {
		t.Errorf("%d uses, %v verdicts and outages are counted", len(used), counted())
	}
	// The same does count for a request.
	if r.validate(); len(used) != 1 || counted() != 1 {
		t.Errorf("after a request: %d uses, %v verdicts", len(used), counted())
	}
}

// TestExplainWhenOnlyOneSideHasAnAnswer: the instance answers from its cache while the
// database has no majority; and the database answers more reads than the instance may
// make for requests while its circuit breaker is open.
func TestExplainWhenOnlyOneSideHasAnAnswer(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("u1"))
	r.validate()
	r.store.mutex.Lock()
	r.store.linearErr = errors.New("no majority")
	r.store.mutex.Unlock()
	instance, database := r.explained(apikey.Request{})
	mustBe(t, instance, apikey.Valid, apikey.SourceCache)
	mustBe(t, database, apikey.Unavailable, apikey.SourceNone)
	if !database.AsOf.IsZero() {
		t.Errorf("the database as of %v, without an answer", database.AsOf)
	}

	r.clock.advance(time.Minute) // stale
	if attempt, ok := r.breaker.begin(); ok {
		r.breaker.failed(attempt, r.clock.Now())
	}
	if _, ok := r.breaker.begin(); !ok { // somebody else tries
		t.Fatal("no attempt is allowed")
	}
	r.store.mutex.Lock()
	r.store.linearErr = nil
	r.store.mutex.Unlock()
	instance, database = r.explained(apikey.Request{})
	mustBe(t, instance, apikey.Unavailable, apikey.SourceNone)
	mustBe(t, database, apikey.Valid, apikey.SourceLinearizable)
}

// TestTheReasonKnowsWhatIsRequiredOfAllRequests: not only what this one requires.
func TestTheReasonKnowsWhatIsRequiredOfAllRequests(t *testing.T) {
	r := live(t, func(c *Config) { c.RequireBinding = true })
	bound := document("u1")
	bound.Record.ProjectID = "live"
	r.store.put(hash, bound)
	if v := r.validate(); v.Code != apikey.Forbidden || v.Reason.String() != "project" {
		t.Errorf("%v because of %q, want FORBIDDEN because of project", v.Code, v.Reason)
	}
}
