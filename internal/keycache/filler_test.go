package keycache

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

func TestAScanAllocatesNothingForAKey(t *testing.T) {
	const keys = 4000
	for _, overlay := range []int{0, 1} {
		r := live(t, forScans, func(c *Config) { c.SizeMiB = 16 })
		for range overlay {
			r.overlay.set(&hash2, make([]byte, 100))
		}
		s, err := r.BeginScan(ScanIntoEmpty, keys)
		if err != nil {
			t.Fatal(err)
		}
		s.IndexIsUnique()
		documents, i := manyHashes(keys), 0
		add := func() { s.Add(documents[i], typicalFinding); i++ }
		for i < sampled {
			add()
		}
		// A lookup in the overlay takes its key, 8 bytes.
		if got := testing.AllocsPerRun(keys-sampled-1, add); got > float64(overlay) {
			t.Errorf("%v allocations a key, with %d entries in the overlay", got, overlay)
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		if n := r.current.Load().base.Load().len(); n != keys {
			t.Errorf("the base has %d of %d keys", n, keys)
		}
	}
}

// TestDocumentsWithoutAHashGetNoMemory: a base is as large as the keys need, of which there are fewer than
// documents, also if most of them come late.
func TestDocumentsWithoutAHashGetNoMemory(t *testing.T) {
	const documents, keys = 200_000, 20_000
	each := EntryBytes(typicalFinding.ID, typicalFinding.Record, true)
	for name, isKey := range map[string]func(i int) bool{
		"everywhere": func(i int) bool { return i%(documents/keys) == 0 },
		"at the end": func(i int) bool { return i >= documents-keys },
	} {
		r := live(t, forScans, func(c *Config) { c.SizeMiB = 64 })
		s, err := r.BeginScan(ScanIntoEmpty, documents)
		if err != nil {
			t.Fatal(err)
		}
		s.IndexIsUnique()
		for i := range documents {
			if isKey(i) {
				s.Add(typicalHash(i), typicalFinding)
			} else {
				s.Skip()
			}
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		base := r.current.Load().base.Load()
		if got := base.capacity(); base.len() != keys || got > 2*keys*each {
			t.Errorf("%s: %d bytes for %d of %d keys", name, got, base.len(), keys)
		}
	}
}

var typicalFinding = typical(1, 0)

func manyHashes(n int) []apikey.Hash {
	hashes := make([]apikey.Hash, n)
	for i := range hashes {
		hashes[i] = typicalHash(i)
	}
	return hashes
}

// Whatever number of keys was predicted, mayHave is true for each hash that was added.
func TestAFillerMayHaveWhatWasAdded(t *testing.T) {
	for _, predicted := range []int64{0, 600, 1 << 20} {
		base, err := newByteStore(8, 0)
		if err != nil {
			t.Fatal(err)
		}
		g := newGeneration(base, newSlots(64, live(t).current.Load().slots.hash), DefaultMaxAge)
		f := filler{into: g, store: base, sizeMiB: 8, keys: predicted}
		hashes := append(manyHashes(2000), apikey.Hash{}, apikey.Hash{keyBytes: 1})
		if f.mayHave(&hashes[0]) {
			t.Error("an empty filler may have a hash")
		}
		for i := range hashes {
			f.add(&entry{hash: hashes[i], kind: marker}, "", nil)
			for j := range i + 1 {
				if !f.mayHave(&hashes[j]) || f.get(&hashes[j]) == nil {
					t.Fatalf("%d predicted: hash %d is not found after %d", predicted, j, i+1)
				}
			}
		}
		others := 0
		for i := range 1000 {
			if other := typicalHash(10_000 + i); f.mayHave(&other) {
				others++
			}
		}
		if others > 100 {
			t.Errorf("%d predicted: mayHave is true for %d of 1000 hashes that were not added", predicted, others)
		}
	}
}

// The store's keys of a filler are those of all others, also where a block of memory ends.
func TestKeyNamesAreStoreKeys(t *testing.T) {
	var names keyNames
	hashes := append(manyHashes(keyBlockBytes/keyBytes*2+3), apikey.Hash{})
	made := make([]string, len(hashes))
	for i := range hashes {
		made[i] = names.of(&hashes[i])
	}
	for i := range hashes {
		if made[i] != storeKey(&hashes[i]) {
			t.Fatalf("the key of hash %d is %x, want %x", i, made[i], storeKey(&hashes[i]))
		}
	}
}

// TestAScanStoresWhatAFillDoes, without the stamps, also of a record that is too large.
func TestAScanStoresWhatAFillDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(18, 8))
	var buffer []byte
	for i := range 1000 {
		f := typical(i, uint8(i))
		f.Record.Name = strings.Repeat("x", random.IntN(2*MaxRecordBytes)/(1+random.IntN(100)))
		e := entry{hash: typicalHash(i), kind: entryKind(random.IntN(int(ambiguous) + 1)), epoch: 2, seq: uint64(i), deadline: forever}
		if random.IntN(10) == 0 {
			clear(e.hash[:keyBytes])
		}
		other := e
		want, kept := e.encode(f.ID, f.Record)
		want[atKind] |= fromScan
		want = slices.Delete(want, sharedBytes, ownBytes)
		got, keptToo := other.appendFromScan(buffer[:0], f.ID, f.Record)
		if !bytes.Equal(got, want) || other.kind != e.kind || kept != keptToo {
			t.Fatalf("entry %d of kind %d: %x, want %x", i, e.kind, got, want)
		}
		buffer = got
	}
}

// An audit copies the entry that it compares, which is two allocations with its key, and remembers the hash.
func TestAnAuditLooksUpAKeyOnce(t *testing.T) {
	const keys = 4000
	r := live(t, forScans, func(c *Config) { c.SizeMiB = 16 })
	hashes := manyHashes(keys)
	for _, kind := range []ScanKind{ScanIntoEmpty, ScanInPlace} {
		s, err := r.BeginScan(kind, keys)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		add := func() { s.Add(hashes[i], typicalFinding); i++ }
		add()
		if got := testing.AllocsPerRun(keys-2, add); kind == ScanInPlace && got > 4 {
			t.Errorf("%v allocations a key", got)
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
	}
}
