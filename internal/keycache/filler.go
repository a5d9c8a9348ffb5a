package keycache

import (
	"bytes"
	"math/bits"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
)

// sampled is how many entries a scan reads before it chooses the size of its base.
const sampled = 512

// filler stores a scan's entries into its base. The first ones it keeps, and makes a store of the
// right size when it knows how large they are: a store that doubles takes up to twice the memory.
// Only the filler writes to the base, until the scan has ended.
type filler struct {
	into    *generation
	store   *byteStore
	sizeMiB int
	// keys is about how many entries there will be, 0 if that is unknown. It counts documents without
	// a hash, of which skipped have been read.
	keys, skipped int64
	kept          []keptEntry
	// ready: the store has its size, or cannot get one.
	ready bool
	// has has the bit of each hash that was added, and so of some that were not.
	has bitset
	// value is space for the entry that is being added or compared: the store copies it.
	value []byte
	names keyNames
}

type keptEntry struct {
	hash  apikey.Hash
	value []byte
}

// add stores an entry, with the document and its record if it has one.
func (f *filler) add(e *entry, id apikey.DocID, record *apikey.Record) {
	if f.has == nil {
		f.has = newBitset(f.keys)
	}
	f.has.add(storeSum(&e.hash))
	f.value, _ = e.appendFromScan(f.value[:0], id, record)
	if f.ready || f.keys < sampled {
		f.store.setAlone(f.names.of(&e.hash), f.value)
		return
	}
	f.kept = append(f.kept, keptEntry{e.hash, bytes.Clone(f.value)})
	if len(f.kept) == sampled {
		f.resize()
		f.flush()
	}
}

// mayHave is false if the base surely has no value of the hash. Nearly always this saves the lookup:
// with a unique index a scan reads no hash twice.
func (f *filler) mayHave(h *apikey.Hash) bool { return f.has.mayHave(storeSum(h)) }

// get is the value that a hash has in the base, kept or stored.
func (f *filler) get(h *apikey.Hash) []byte {
	for i := len(f.kept) - 1; i >= 0; i-- {
		if storeSum(&f.kept[i].hash) == storeSum(h) {
			return f.kept[i].value
		}
	}
	return f.store.get(h)
}

// resize replaces the empty store. If that fails, the one that doubles remains.
func (f *filler) resize() {
	size := int64(0)
	for i := range f.kept {
		size += int64(len(f.kept[i].value) + storeOverhead)
	}
	kept := int64(len(f.kept))
	// If more of the later documents have a hash, the store doubles.
	keys := max(kept, int64(float64(f.keys)*float64(kept)/float64(kept+f.skipped)))
	expected := size / kept * keys
	if store, err := newSizedByteStore(f.sizeMiB, keys, expected+expected/unevenness); err == nil {
		f.store = store
		f.into.base.Store(store)
	}
}

// flush stores what was kept.
func (f *filler) flush() {
	f.ready = true
	for i := range f.kept {
		f.store.setAlone(f.names.of(&f.kept[i].hash), f.kept[i].value)
	}
	f.kept = nil
}

// bitset has a bit for each of some numbers. Several numbers share one.
type bitset []uint64

// leastBits is the size of a bitset for an unknown number of keys: 128 KiB.
const leastBits = 1 << 20

// newBitset makes a bitset with eight bits for each key. When so many have been added, one of eight others
// shares its bit with one of them.
func newBitset(keys int64) bitset {
	const perKey, word = 8, 64
	return make(bitset, max(leastBits, min(keys, maxSlots)*perKey)/word)
}

// at is the place of a number. All bits of the numbers are as good as random.
func (b bitset) at(sum uint64) (word int, bit uint64) {
	high, _ := bits.Mul64(sum, uint64(len(b)))
	return int(high), 1 << (sum & 63)
}

func (b bitset) add(sum uint64) {
	word, bit := b.at(sum)
	b[word] |= bit
}

func (b bitset) mayHave(sum uint64) bool {
	if len(b) == 0 {
		return false
	}
	word, bit := b.at(sum)
	return b[word]&bit != 0
}

// keyNames makes the byte store's keys of hashes. Many of them share one block of memory.
type keyNames struct{ block strings.Builder }

const keyBlockBytes = 512 * keyBytes

func (n *keyNames) of(h *apikey.Hash) string {
	if string(h[:keyBytes]) == keyOfZeros {
		return keyForZeros
	}
	if n.block.Cap()-n.block.Len() < keyBytes {
		n.block.Reset()
		n.block.Grow(keyBlockBytes)
	}
	n.block.Write(h[:keyBytes])
	return n.block.String()[n.block.Len()-keyBytes:]
}
