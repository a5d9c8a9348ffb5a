package keycache

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// randomHistory is a random history of a cache and its collection. The stream delivers
// immediately, so each answer must be the present state of the collection.
type randomHistory struct {
	*rig
	t         *rapid.T
	documents map[apikey.Hash]Finding
	hashes    []apikey.Hash
	time      clustertime.Time
	version   int

	scan *Scan
	// unseen are the documents before the scan's cursor.
	unseen []apikey.Hash
	// pending are reads that have not been stored yet.
	pending []pendingFill
}

type pendingFill struct {
	ticket Ticket
	hash   apikey.Hash
	read   Finding
	byID   bool
}

const historyKeys = 12

func newHistory(t *rapid.T) *randomHistory {
	h := &randomHistory{rig: &rig{now: time.Now()}, t: t, documents: map[apikey.Hash]Finding{}, time: 100}
	cache, err := New(Config{SizeMiB: minSizeToDivide, Slots: 1 << 10, Complete: true, Now: func() time.Time { return h.now }})
	if err != nil {
		t.Fatal(err)
	}
	h.Cache = cache
	for i := range historyKeys {
		hash := apikey.HashOf(fmt.Sprint("key-", i))
		h.hashes = append(h.hashes, hash)
		h.documents[hash] = finding(fmt.Sprint("d", i), "first")
	}
	h.open()
	// Mostly the scan is the first thing that happens, so that histories begin complete.
	if rapid.IntRange(0, 3).Draw(t, "scanned first") > 0 {
		h.scanSees(len(h.unseen))
		h.scanStep("finish")
	}
	return h
}

// open begins an epoch, with the scan that follows each open.
func (h *randomHistory) open() {
	h.time++
	h.Open(h.time)
	h.later(0)
	h.begin(ScanIntoEmpty)
}

func (h *randomHistory) later(d time.Duration) {
	h.now = h.now.Add(d)
	h.Fresh(Freshness{AsOf: h.now, Processed: h.time})
}

func (h *randomHistory) begin(kind ScanKind) {
	scan, err := h.BeginScan(kind, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	if rapid.Bool().Draw(h.t, "index seen") {
		scan.IndexIsUnique()
	}
	h.scan, h.unseen = scan, append([]apikey.Hash(nil), h.hashes...)
}

// step makes one step and returns its name. A loss, which invalidates everything, is not
// among the steps.
func (h *randomHistory) step() string {
	hash := rapid.SampledFrom(h.hashes).Draw(h.t, "key")
	old := h.documents[hash]
	h.version++
	next := finding(fmt.Sprint("d", rapid.IntRange(0, 1).Draw(h.t, "id"), hash[0]), fmt.Sprint("v", h.version))
	name := rapid.SampledFrom([]string{
		"read", "read by id", "store", "store", "update", "replace", "delete", "evict", "evict another", "unreadable", "unreadable", "on demand",
		"clock", "clock", "scan", "see", "see", "see", "finish", "finish",
	}).Draw(h.t, "step")
	switch name {
	case "read":
		h.pending = append(h.pending, pendingFill{h.Begin(), hash, old, false})
	case "read by id":
		if old.Found {
			h.pending = append(h.pending, pendingFill{h.Begin(), hash, old, true})
		}
	case "store":
		h.store()
	case "update", "replace", "delete":
		h.change(name, hash, old, next)
	case "evict":
		h.evicting().evict(&hash)
		// Otherwise the front would answer until a scan ends it.
		h.front.drop(&hash)
	case "evict another":
		h.evicting().evictions.Add(1)
	case "unreadable":
		h.time++
		h.Apply(&Change{ID: "other", Time: h.time, Unreadable: true})
	case "on demand":
		if h.scan == nil {
			if err := h.FillOnDemand(); err != nil {
				h.t.Fatal(err)
			}
		}
	case "clock":
		h.later(time.Duration(rapid.IntRange(0, 20).Draw(h.t, "minutes")) * time.Minute)
	default:
		h.scanStep(name)
	}
	return name
}

func (h *randomHistory) store() {
	if len(h.pending) == 0 {
		return
	}
	i := rapid.IntRange(0, len(h.pending)-1).Draw(h.t, "read")
	p := h.pending[i]
	h.pending = append(h.pending[:i], h.pending[i+1:]...)
	if p.byID {
		h.StoreByID(p.ticket, p.hash, p.read)
		return
	}
	h.Store(p.ticket, p.hash, p.read)
}

func (h *randomHistory) change(kind string, hash apikey.Hash, old, next Finding) {
	h.time++
	switch {
	case kind == "replace":
		if old.Found {
			next.ID = old.ID
		}
		h.documents[hash] = next
		h.Apply(&Change{ID: next.ID, Time: h.time, Hash: hash, HasHash: true, Record: next.Record})
	case !old.Found:
	case kind == "update":
		next.ID = old.ID
		h.documents[hash] = next
		h.Apply(&Change{ID: old.ID, Time: h.time})
	default:
		delete(h.documents, hash)
		h.Apply(&Change{ID: old.ID, Time: h.time})
	}
}

func (h *randomHistory) scanStep(name string) {
	switch {
	case name == "scan" && h.scan == nil:
		h.begin(rapid.SampledFrom([]ScanKind{ScanInPlace, ScanAside}).Draw(h.t, "kind"))
	case name == "see" && h.scan != nil && len(h.unseen) > 0:
		h.scanSees(rapid.IntRange(1, len(h.unseen)).Draw(h.t, "documents"))
	case name == "finish" && h.scan != nil && (len(h.unseen) == 0 || h.scan.WillFail()):
		_ = h.scan.Finish()
		h.scan = nil
	}
}

func (h *randomHistory) scanSees(documents int) {
	for _, hash := range h.unseen[:documents] {
		if f := h.documents[hash]; f.Found {
			h.scan.Add(hash, f)
		}
	}
	h.unseen = h.unseen[documents:]
}

// known is what must not change for an entry to stay valid.
type known struct{ byID, byHash uint64 }

func (h *randomHistory) known(id apikey.DocID, hash apikey.Hash) known {
	tables := h.current.Load().slots
	return known{tables.byID.load(tables.sumOfID(id)), tables.byHash.load(tables.sumOfHash(&hash))}
}

// evicting is a store from which entries may be evicted: a base that is complete is none.
func (h *randomHistory) evicting() *byteStore {
	if g := h.current.Load(); g.complete.Load() == nil && rapid.Bool().Draw(h.t, "from the base") {
		return g.base.Load()
	}
	return h.overlay
}

// answers are the keys that are answered from an entry. Each must be right.
func (h *randomHistory) answers() map[apikey.Hash]known {
	all := map[apikey.Hash]known{}
	for _, hash := range h.hashes {
		a, ok := h.Get(hash)
		if !ok {
			continue
		}
		if want := h.documents[hash]; a.Found != want.Found || a.Found && a.Record.UserID != want.Record.UserID {
			h.t.Fatalf("the answer is %+v, the collection has %+v", a, want)
		}
		if a.Found {
			all[hash] = h.known(a.ID, hash)
		}
	}
	return all
}

// covered: a scan of this epoch has completed the generation.
func (h *randomHistory) covered() bool {
	complete := h.current.Load().complete.Load()
	return complete != nil && complete.ticket.epoch == h.Epoch()
}

// TestValidEntriesDecreaseOnlyByEvictionsAndStamps: whatever happens within an epoch, a
// key that was answered before a step is answered after it, unless the step evicted or
// stamped its entry. So it does not matter what ends the completeness. In a generation
// that no scan of the epoch has completed, time ends entries, too.
func TestValidEntriesDecreaseOnlyByEvictionsAndStamps(t *testing.T) {
	var ended atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			if rapid.IntRange(0, 60).Draw(t, "loss") == 0 {
				h.Lose()
				h.open()
				continue
			}
			before, covered, whole := h.answers(), h.covered(), h.Stats().Complete
			name := h.step()
			after := h.answers()
			if whole && !h.Stats().Complete && len(before) > 0 {
				ended.Add(1)
			}
			for hash, was := range before {
				if _, ok := after[hash]; ok || (name == "clock" && !covered) {
					continue
				}
				stamped := !h.documents[hash].Found || h.known(h.documents[hash].ID, hash) != was
				if name != "evict" && !stamped {
					t.Fatalf("%q: a key is no longer answered, although it was neither evicted nor changed", name)
				}
			}
		}
	})
	if n := ended.Load(); n < 10 {
		t.Errorf("the completeness ended only %d times with entries in the cache: the test shows little", n)
	}
}

// TestEntriesStoredTogetherExpireSeparately: also in a cache that is not complete, MaxAge
// does not end many entries at the same time.
func TestEntriesStoredTogetherExpireSeparately(t *testing.T) {
	r := live(t)
	const keys, parts = 2000, 20
	documents := map[apikey.Hash]Finding{}
	for i := range keys {
		user := fmt.Sprint("u", i)
		documents[apikey.HashOf(user)] = finding(user, user)
		r.fill(apikey.HashOf(user), documents[apikey.HashOf(user)])
	}
	r.later(DefaultMaxAge / 2)
	held := r.answered(documents)
	if held < keys-1 {
		t.Fatalf("%d of %d are answered after half of MaxAge", held, keys)
	}
	for range parts {
		r.later(DefaultMaxAge / 2 / parts)
		now := r.answered(documents)
		if ended := held - now; ended > 2*keys/parts {
			t.Errorf("%d of %d entries ended within a %dth of MaxAge", ended, keys, 2*parts)
		}
		held = now
	}
	if held != 0 {
		t.Errorf("%d entries are older than MaxAge", held)
	}
}
