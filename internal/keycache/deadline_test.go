package keycache

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// TestEntriesStayValidWhenTheCompletenessEnds ends the completeness of a cache whose
// entries are older than MaxAge, in each way in which it can end within an epoch.
// Entries that were not evicted must still be answered.
func TestEntriesStayValidWhenTheCompletenessEnds(t *testing.T) {
	const keys = 1000
	for _, c := range []struct {
		name string
		end  func(t *testing.T, r *rig, other apikey.DocID)
	}{
		{"an unreadable hash", func(_ *testing.T, r *rig, other apikey.DocID) {
			r.Apply(&Change{ID: other, Time: 170, Unreadable: true})
		}},
		{"a scan in place that fails", func(t *testing.T, r *rig, other apikey.DocID) {
			s := r.begin(t, ScanInPlace)
			r.Apply(&Change{ID: other, Time: 170, Unreadable: true})
			if err := s.Finish(); !errors.Is(err, ErrScanUnreadable) {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := live(t, forScans)
			documents := manyDocuments(keys)
			r.complete(t, ScanIntoEmpty, documents)
			r.later(2 * DefaultMaxAge)
			before := r.answered(documents)
			c.end(t, r, r.another(documents))
			if r.Stats().Complete {
				t.Fatal("still complete: the test shows nothing")
			}
			at := r.answered(documents)
			r.later(2 * DefaultMaxAge)
			if after := r.answered(documents); before != keys || at != before || after != before {
				t.Errorf("of %d keys %d were answered before, %d when the completeness had ended, %d later", keys, before, at, after)
			}
		})
	}
}

// later moves the clock, and the freshness with it.
func (r *rig) later(d time.Duration) {
	r.now = r.now.Add(d)
	r.Fresh(Freshness{AsOf: r.now, Processed: 100})
}

func (r *rig) answered(documents map[apikey.Hash]Finding) (n int) {
	for h := range documents {
		if a, ok := r.Get(h); ok && a.Found {
			n++
		}
	}
	return n
}

// another is the id of a document that shares its slot with none of the documents.
func (r *rig) another(documents map[apikey.Hash]Finding) apikey.DocID {
	tables, slots := r.current.Load().slots, map[*atomic.Uint64]bool{}
	for _, f := range documents {
		slots[tables.byID.at(tables.sumOfID(f.ID))] = true
	}
	for i := 0; ; i++ {
		if id := apikey.DocID(fmt.Sprint("another-", i)); !slots[tables.byID.at(tables.sumOfID(id))] {
			return id
		}
	}
}
