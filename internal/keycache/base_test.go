package keycache

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

func TestSlotsGrowWithTheNumberOfKeys(t *testing.T) {
	for _, c := range []struct {
		keys int64
		want int
	}{
		{0, 1 << 12}, {1 << 12, 1 << 12}, {1<<12 + 1, 1 << 13}, {1 << 14, 1 << 14}, {1 << 40, maxSlots},
	} {
		if got := slotsFor(c.keys, 1<<12); got != c.want {
			t.Errorf("%d slots for %d keys, want %d", got, c.keys, c.want)
		}
	}
	r := live(t, forScans)
	documents := map[apikey.Hash]Finding{hash1: finding("d1", "u1"), hash2: finding("d2", "u2")}
	for _, kind := range []ScanKind{ScanIntoEmpty, ScanAside} {
		before := r.current.Load().slots
		s, err := r.BeginScan(kind, int64(len(before.byID)+1))
		if err != nil {
			t.Fatal(err)
		}
		for h, f := range documents {
			s.Add(h, f)
		}
		r.Apply(&Change{ID: "d1", Time: 170})
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		if got := len(r.current.Load().slots.byID); got != 2*len(before.byID) {
			t.Errorf("%d slots after a scan of kind %d, want %d", got, kind, 2*len(before.byID))
		}
		r.mustMiss(t, hash1)
		r.mustHit(t, hash2, "u2")
	}
	// A scan of fewer keys keeps the tables.
	before := r.current.Load().slots
	r.complete(t, ScanAside, documents)
	if r.current.Load().slots != before {
		t.Error("the tables were made anew")
	}
}

func TestABaseWithManyWrongEntriesIsNotTrusted(t *testing.T) {
	r := live(t, forScans)
	documents := manyDocuments(maxEnded + 100)
	r.complete(t, ScanIntoEmpty, documents)
	ended := 0
	for h := range documents {
		if r.Audit(r.Begin(), h, Finding{}) {
			ended++
		}
	}
	if ended != maxEnded+1 || r.answered(documents) != 0 {
		t.Errorf("%d entries were ended one by one, want %d; %d are answered", ended, maxEnded+1, r.answered(documents))
	}
	if _, worth := r.Rebuild(); !worth {
		t.Error("a new base is not worth it")
	}
}

func TestTooManyNewKeysNeedANewBase(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, manyDocuments(10))
	s := r.begin(t, ScanInPlace)
	for i := range maxBeside + 1 {
		user := fmt.Sprint("new-", i)
		s.Add(apikey.HashOf(user), finding(user, user))
	}
	if err := s.Finish(); !errors.Is(err, ErrScanOutgrown) {
		t.Fatalf("got %v", err)
	}
	// The completeness of the last scan stays.
	r.mustBeAbsent(t, apikey.HashOf("nobody"))
}

func TestARebuildIsWorthItWhenTheOverlayIsTooSmall(t *testing.T) {
	for _, c := range []struct {
		name          string
		keys, changed int
		kind          ScanKind
		worth         bool
	}{
		{"few changes", 20_000, 1000, ScanAside, false},
		{"more than the overlay holds", 20_000, 15_000, ScanAside, true},
		{"no memory for two, less than half", 80_000, 30_000, ScanIntoEmpty, false},
		{"no memory for two, more than half", 80_000, 50_000, ScanIntoEmpty, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := live(t, forScans, func(config *Config) { config.SizeMiB, config.Slots = 12, 1<<20 })
			if _, worth := r.Rebuild(); worth {
				t.Error("a rebuild of a cache that no scan has filled is worth it")
			}
			r.complete(t, ScanIntoEmpty, manyDocuments(c.keys))
			for i := range c.changed {
				r.Apply(&Change{ID: apikey.DocID(fmt.Sprint("u", i)), Time: 200})
			}
			if kind, worth := r.Rebuild(); kind != c.kind || worth != c.worth {
				t.Errorf("got %v, kind %v, want %v, %v", worth, kind, c.worth, c.kind)
			}
		})
	}
}

// Most documents of a collection may have no hash: they take no space, but they are counted.
func TestDocumentsWithoutAHashDoNotPreventARebuild(t *testing.T) {
	r := live(t, forScans)
	const documents = 1 << 20
	for _, kind := range []ScanKind{ScanIntoEmpty, ScanAside, ScanIntoEmpty} {
		s, err := r.BeginScan(kind, documents)
		if err != nil {
			t.Fatalf("a scan of kind %d: %v", kind, err)
		}
		for h, f := range manyDocuments(10) {
			s.Add(h, f)
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.BeginScan(ScanIntoEmpty, 10_000*documents); !errors.Is(err, ErrScanEvicted) {
		t.Errorf("a scan of far more documents: %v", err)
	}
}
