package keycache

import (
	"fmt"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

var (
	saysOff = apikey.Refusal{Off: true}
	id1     = apikey.DocID("d1")
)

// update applies an update of a document, whose event says this.
func (r *rig) update(id apikey.DocID, says apikey.Refusal) {
	r.Apply(&Change{ID: id, Time: 170, Refusal: says, Refresh: true})
}

func (r *rig) saysExpiry(in time.Duration) apikey.Refusal {
	return apikey.Refusal{Expires: true, ExpiresAt: r.now.Add(in)}
}

// mustRefuse checks that the cache answers with the record of this user, refused by this code.
func (r *rig) mustRefuse(t *testing.T, h apikey.Hash, user string, want apikey.Code) {
	t.Helper()
	a := r.mustHit(t, h, user)
	if got := apikey.Decide(a.Record, &apikey.Request{}, a.Now); got != want {
		t.Fatalf("got %v, want %v: %+v", got, want, a.Record)
	}
}

// cached is a live cache that has d1 under hash1, and has been fresh since.
func cached(t *testing.T) *rig {
	t.Helper()
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.settle()
	return r
}

// settle makes the cache fresh as of a later time.
func (r *rig) settle() {
	r.now = r.now.Add(time.Millisecond)
	r.Fresh(Freshness{AsOf: r.now})
}

func TestAnUpdateThatSwitchesAKeyOffAnswersForIt(t *testing.T) {
	r := cached(t)
	r.update(id1, saysOff)
	r.mustRefuse(t, hash1, "u1", apikey.Disabled)
	if n := r.refusals.answered.Load(); n != 1 {
		t.Errorf("%d answers are counted", n)
	}
	// The refresh replaces the entry, and with it the refusal.
	r.StoreByID(r.Begin(), hash1, finding("d1", "new"))
	r.mustRefuse(t, hash1, "new", apikey.Valid)
}

func TestAnUpdateThatMovesTheExpiryAnswersOnceItHasCome(t *testing.T) {
	r := cached(t)
	r.update(id1, r.saysExpiry(time.Second))
	r.mustMiss(t, hash1)
	r = cached(t)
	r.update(id1, r.saysExpiry(0))
	r.mustRefuse(t, hash1, "u1", apikey.Expired)
	r.now = r.now.Add(-time.Second) // the clock is set back
	r.mustMiss(t, hash1)
}

func TestRefusalsOfOneDocumentAreChained(t *testing.T) {
	r := cached(t)
	r.update(id1, r.saysExpiry(0))
	r.update(id1, saysOff)
	r.mustRefuse(t, hash1, "u1", apikey.Disabled)
	if a, _ := r.Get(hash1); a.Record.ExpiresAt.IsZero() {
		t.Error("the second update has taken the place of the first")
	}
	r.update(id1, r.saysExpiry(time.Hour))
	r.mustMiss(t, hash1)
	r.update(id1, saysOff)
	r.mustMiss(t, hash1)
}

// TestARefusalDoesNotAnswer lists what makes it uncertain, and for each what happens after d1 was
// cached.
func TestARefusalDoesNotAnswer(t *testing.T) {
	for name, happens := range map[string]func(r *rig){
		"before an earlier change of the document": func(r *rig) {
			r.Apply(&Change{ID: id1, Time: 160, Hashes: []apikey.Hash{hash2}})
			r.update(id1, saysOff)
		},
		"after a later change of the document": func(r *rig) {
			r.update(id1, saysOff)
			r.Apply(&Change{ID: id1, Time: 180, Refresh: true})
		},
		"after its deletion": func(r *rig) {
			r.update(id1, saysOff)
			r.Apply(&Change{ID: id1, Time: 180})
		},
		"after another document has the hash": func(r *rig) {
			r.update(id1, saysOff)
			r.Apply(&Change{ID: "d2", Time: 180, Hashes: []apikey.Hash{hash1}})
		},
		"after a loss": func(r *rig) {
			r.update(id1, saysOff)
			r.Lose()
		},
		"in the next epoch": func(r *rig) {
			r.Lose()
			r.Open(165)
			r.update(id1, saysOff)
		},
		"as long as the entry's read may be ahead of the stream": func(r *rig) {
			r.fill(hash1, finding("d1", "u1"))
			r.update(id1, saysOff)
		},
		"that is delivered a second time": func(r *rig) {
			r.Apply(&Change{ID: "d2", Time: 171})
			r.update(id1, saysOff)
		},
		"when the data are too old": func(r *rig) {
			r.update(id1, saysOff)
			r.now = r.now.Add(DefaultMaxStale + 1)
		},
		"past the deadline": func(r *rig) {
			r.update(id1, saysOff)
			r.now = r.now.Add(DefaultMaxAge)
			r.Fresh(Freshness{AsOf: r.now})
		},
		"with a defect": func(r *rig) {
			broken := finding("d1", "u1")
			broken.Record.Defect = "is_active is of type string"
			r.fill(hash1, broken)
			r.settle()
			r.update(id1, saysOff)
		},
		"with a record that is not stored": func(r *rig) {
			large := finding("d1", "u1")
			large.Record.Name = string(make([]byte, MaxRecordBytes))
			r.fill(hash1, large)
			r.settle()
			r.update(id1, saysOff)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := cached(t)
			happens(r)
			r.mustMiss(t, hash1)
		})
	}
}

// A refresh between two refusals: the second one is enough.
func TestARefusalOfARefreshedKey(t *testing.T) {
	r := cached(t)
	r.update(id1, saysOff)
	r.fill(hash1, finding("d1", "u1"))
	r.settle()
	r.update(id1, r.saysExpiry(0))
	r.mustRefuse(t, hash1, "u1", apikey.Expired)
}

// An entry that a scan without an index has stored is as old as the end of the scan.
func TestARefusalOfAScannedKey(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	s.Add(hash1, finding("d1", "u1"))
	r.settle()
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	r.update(id1, saysOff)
	r.mustMiss(t, hash1)
	s = r.begin(t, ScanInPlace)
	s.Add(hash1, finding("d1", "u1"))
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.update(id1, saysOff)
	r.mustRefuse(t, hash1, "u1", apikey.Disabled)
}

func TestARefusalIsOfOneDocument(t *testing.T) {
	r := live(t, func(c *Config) { c.Slots = 1 })
	r.fill(hash1, finding("d1", "u1"))
	r.fill(hash2, finding("d2", "u2"))
	r.settle()
	r.update("d2", saysOff)
	r.mustMiss(t, hash1)
	r.mustRefuse(t, hash2, "u2", apikey.Disabled)
	// Of two in one slot only the last one answers.
	r.update("d1", saysOff)
	r.mustMiss(t, hash1)
	r.mustMiss(t, hash2)
}

// refuseMany fills a cache whose table of refusals has so many places with n keys, and switches all of
// them off. It returns how many are refused from their events, and the heap that the table takes.
func refuseMany(t testing.TB, n, places int) (refused int, heap uint64) {
	t.Helper()
	r := live(t, func(c *Config) { c.SizeMiB, c.Slots, c.RefreshQueue = 64, 1<<20, n })
	r.refusals.make(0)
	key := func(i int) (apikey.DocID, apikey.Hash) {
		name := fmt.Sprint("k", i)
		return apikey.DocID(name), apikey.HashOf(name)
	}
	for i := range n {
		id, h := key(i)
		r.fill(h, finding(string(id), "u"))
	}
	r.settle()
	before := heapBytes()
	r.refusals.make(places)
	for i := range n {
		id, _ := key(i)
		r.update(id, saysOff)
	}
	heap = heapBytes() - before
	for i := range n {
		_, h := key(i)
		if a, ok := r.Get(h); ok {
			refused++
			if a.Record.Active {
				t.Fatal("a key is valid after its refusal")
			}
		}
	}
	return refused, heap
}

// TestRefusalsAreBounded: more keys are refused than the table has places. Each is refused from its
// event or is read.
func TestRefusalsAreBounded(t *testing.T) {
	const n, places = 1 << 15, 1 << 14
	refused, _ := refuseMany(t, n, places)
	// A place is left empty by none of n with a chance of 1/e^2.
	if refused < places*8/10 || refused > places {
		t.Errorf("%d of %d are refused from a table with %d places", refused, n, places)
	}
}

// TestABulkOfRevocationsIsRefusedFromItsEvents: most keys that a full queue of refreshes holds.
func TestABulkOfRevocationsIsRefusedFromItsEvents(t *testing.T) {
	const n = 50_000
	refused, heap := refuseMany(t, n, refusalPlaces)
	t.Logf("%d of %d are refused without a read; the table takes %d KiB", refused, n, heap>>10)
	// A place keeps one of those that it is given: 65,536 × (1 − e^(−50,000/65,536)) = 34,980. Some
	// share a slot with another key.
	if refused < 32_000 {
		t.Errorf("%d of %d are refused without a read", refused, n)
	}
}

// BenchmarkRefusals shows which share of 50,000 revocations is refused without a read while none of
// them has been refreshed, and the heap, by the number of places.
func BenchmarkRefusals(b *testing.B) {
	for _, places := range []int{1 << 14, 1 << 16, 1 << 17, 1 << 18} {
		b.Run(fmt.Sprint(places), func(b *testing.B) {
			const n = 50_000
			refused, heap := 0, uint64(0)
			for range b.N {
				refused, heap = refuseMany(b, n, places)
			}
			b.ReportMetric(float64(refused)/n, "refused")
			b.ReportMetric(float64(heap)/(1<<20), "MiB")
		})
	}
}

// An entry of a scan answers from an event once the stream has passed the scan.
func TestARefusalOfAKeyThatAScanHasRead(t *testing.T) {
	for _, unique := range []bool{false, true} {
		r := live(t, forScans)
		s := r.begin(t, ScanIntoEmpty)
		if unique {
			s.IndexIsUnique()
		}
		s.Add(hash1, finding("d1", "u1"))
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		r.settle()
		r.mustHit(t, hash1, "u1")
		r.update(id1, saysOff)
		r.mustRefuse(t, hash1, "u1", apikey.Disabled)
	}
}
