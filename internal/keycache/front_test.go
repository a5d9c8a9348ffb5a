package keycache

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// warm makes the front answer requests for hash1, and returns the record that it holds.
func (r *rig) warm(t *testing.T) *apikey.Record {
	t.Helper()
	first, second := r.mustHit(t, hash1, "u1"), r.mustHit(t, hash1, "u1")
	if first.Record != second.Record {
		t.Fatal("the second hit has another record: the front does not answer")
	}
	return second.Record
}

// frontEnd is something that ends an entry, and with it the front's.
type frontEnd struct {
	name string
	// guard is the guard without which the front still answers.
	guard string
	end   func(t *testing.T, r *rig)
}

func frontEnds() []frontEnd {
	both := finding("d2", "u2")
	both.Ambiguous = true
	seeTwice := func(t *testing.T, r *rig, kind ScanKind) *Scan {
		s := r.begin(t, kind)
		s.Add(hash1, finding("d1", "u1"))
		s.Add(hash1, finding("d2", "u2"))
		return s
	}
	return []frontEnd{
		{"a change of the document", "FrontChecked", func(_ *testing.T, r *rig) { r.Apply(&Change{ID: "d1", Time: 170}) }},
		{"the hash of another document", "FrontChecked", func(_ *testing.T, r *rig) {
			r.Apply(&Change{ID: "d9", Time: 170, Hashes: []apikey.Hash{hash1}})
		}},
		{"a loss", "FrontChecked", func(_ *testing.T, r *rig) { r.Lose(); r.Open(200); r.later(0) }},
		{"a scan in place that sees the hash twice, late", "FrontEra", func(t *testing.T, r *rig) {
			r.lateHit(t, func() { seeTwice(t, r, ScanInPlace) })
		}},
		{"a scan aside that sees the hash twice", "FrontEra", func(t *testing.T, r *rig) {
			if err := seeTwice(t, r, ScanAside).Finish(); err != nil {
				t.Fatal(err)
			}
		}},
		{"a new generation", "FrontEra", func(t *testing.T, r *rig) { r.begin(t, ScanIntoEmpty) }},
		{"an ambiguous read, late", "FrontEra", func(t *testing.T, r *rig) {
			r.lateHit(t, func() { r.Store(r.Begin(), hash1, both) })
		}},
		{"an audit, late", "FrontEra", func(t *testing.T, r *rig) {
			r.lateHit(t, func() { r.Audit(r.Begin(), hash1, Finding{}) })
		}},
		{"a change of another document, late", "FrontEra", func(t *testing.T, r *rig) {
			r.lateHit(t, func() { r.putMarker(&hash1, newMarker(Ticket{}, hash1, marker)) })
		}},
	}
}

// lateHit looks up the entry of hash1 as Get does, and puts it into the front only after end.
func (r *rig) lateHit(t *testing.T, end func()) {
	t.Helper()
	era := r.front.era.Load()
	g := r.current.Load()
	found := r.lookUp(g, g.complete.Load(), &hash1)
	end()
	if !found.valid {
		t.Fatal("there is no entry")
	}
	r.front.put(decodeFound(&found.entry, found.body), era, len(found.body))
}

// stillAnswers reports whether the front answers after the end of its entry.
func (e *frontEnd) stillAnswers(t *testing.T) bool {
	t.Helper()
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.warm(t)
	e.end(t, r)
	a, ok := r.Get(hash1)
	return ok && a.Found
}

func TestTheFrontEndsWithTheEntry(t *testing.T) {
	for _, e := range frontEnds() {
		if e.stillAnswers(t) {
			t.Errorf("after %s the front still answers", e.name)
		}
	}
}

func TestTheFrontsEntriesHaveTheirDeadlines(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.warm(t)
	r.later(DefaultMaxAge)
	r.mustMiss(t, hash1)

	r = live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	r.warm(t)
	r.later(DefaultMaxAge)
	r.mustHit(t, hash1, "u1")
	r.now = r.now.Add(DefaultMaxStale + 1)
	r.mustMiss(t, hash1)
}

// A newer read replaces an entry that is valid, as when a request waits for a revision.
func TestTheFrontGivesWayToANewerRead(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.warm(t)
	r.fill(hash1, finding("d1", "newer"))
	r.mustHit(t, hash1, "newer")
}

func TestAFrontHitAllocatesNothing(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.warm(t)
	if n := testing.AllocsPerRun(1000, func() { r.Get(hash1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTheFrontHoldsNoLargeRecords(t *testing.T) {
	for _, large := range []func(*apikey.Record){
		func(record *apikey.Record) { record.Name = strings.Repeat("x", maxFrontBytes) },
		func(record *apikey.Record) { record.Scopes = make([]string, maxFrontBytes/16) },
	} {
		r := live(t)
		f := finding("d1", "u1")
		large(f.Record)
		r.fill(hash1, f)
		r.mustHit(t, hash1, "u1")
		r.mustHit(t, hash1, "u1")
		if r.front.get(&hash1) != nil {
			t.Error("the front has taken it")
		}
	}
}

// Keys that are requested once do not push out one that is requested again and again.
func TestTheFrontKeepsWhatIsUsed(t *testing.T) {
	r := live(t, func(c *Config) { c.FrontEntries = frontWays })
	r.fill(hash1, finding("d1", "u1"))
	const others = 50
	for i := range others {
		r.mustHit(t, hash1, "u1")
		name := fmt.Sprint("other-", i)
		r.fill(apikey.HashOf(name), finding(name, name))
		r.mustHit(t, apikey.HashOf(name), name)
	}
	if n := r.front.misses.Load(); n != 1+others {
		t.Errorf("%d hits were not answered by the front, want one of each key: %d", n, 1+others)
	}
}

func TestACacheWithoutAFront(t *testing.T) {
	r := live(t, forScans, func(c *Config) { c.FrontEntries = -1 })
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	if a, b := r.mustHit(t, hash1, "u1"), r.mustHit(t, hash1, "u1"); a.Record == b.Record {
		t.Error("two hits have one record")
	}
	r.complete(t, ScanInPlace, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
}

// frontDefects are wrong records that only the front has. Each returns what the collection has.
func frontDefects() map[string]func(r *rig, held *apikey.Record) map[apikey.Hash]Finding {
	return map[string]func(*rig, *apikey.Record) map[apikey.Hash]Finding{
		"a reader has modified the record": func(_ *rig, held *apikey.Record) map[apikey.Hash]Finding {
			held.UserID = "intruder"
			return map[apikey.Hash]Finding{hash1: finding("d1", "u1")}
		},
		"a delete was missed, and the byte store has evicted the entry": func(r *rig, _ *apikey.Record) map[apikey.Hash]Finding {
			_ = r.current.Load().base.Load().cache.Delete(storeKey(&hash1))
			return nil
		},
	}
}

// afterAudit makes a defect of the front and then an audit, as preload does. It returns the cache and
// what the collection has.
func afterAudit(t *testing.T, defect func(*rig, *apikey.Record) map[apikey.Hash]Finding) (*rig, map[apikey.Hash]Finding) {
	t.Helper()
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	documents := defect(r, r.warm(t))
	for _, h := range r.complete(t, ScanInPlace, documents).Suspects() {
		if r.NeedsAudit(h) {
			r.Audit(r.Begin(), h, documents[h])
		}
	}
	return r, documents
}

func TestTheAuditFindsADefectOfTheFront(t *testing.T) {
	for name, defect := range frontDefects() {
		r, documents := afterAudit(t, defect)
		if n := r.Stats().Mismatches; n != 1 {
			t.Errorf("%s: %d mismatches, want 1", name, n)
		}
		if a, ok := r.Get(hash1); ok && a.Found && (documents == nil || a.Record.UserID != "u1") {
			t.Errorf("%s: after the audit the answer is %+v", name, a.Record)
		}
	}
}

func TestTheAuditFindsNoDefectInAGoodFront(t *testing.T) {
	r := live(t, forScans)
	documents := map[apikey.Hash]Finding{hash1: finding("d1", "u1")}
	r.complete(t, ScanIntoEmpty, documents)
	r.warm(t)
	if got := r.complete(t, ScanInPlace, documents).Suspects(); len(got) > 0 {
		t.Errorf("suspects: %v", got)
	}
	if r.Audit(r.Begin(), hash1, documents[hash1]) {
		t.Error("a mismatch is counted")
	}
}
