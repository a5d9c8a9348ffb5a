package keycache

import (
	"encoding/binary"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// MaxRecordBytes is the largest encoded record that is stored. A key's document has some hundred
// bytes. A record over 16 KiB is read from the database each time.
const MaxRecordBytes = 16 << 10

// entry is the head of a stored value: the stamps of its fill.
type entry struct {
	epoch uint64
	seq   uint64
	// deadline is a distance from the cache's origin on the monotonic clock. For a provisional
	// entry it has another meaning: see scan.
	deadline time.Duration
	// idSlot is the document's slot in byID. It has no meaning for a negative.
	idSlot uint32
	kind   entryKind
	hash   apikey.Hash
}

// entryKind is the kind of an entry.
type entryKind uint8

const (
	// negative: no document had the hash.
	negative entryKind = iota
	// found: a record follows.
	found
	// marker: there is a document, but its record is not stored. A marker answers no request. It
	// keeps a complete cache from reporting the hash as absent.
	marker
	// provisional: a record follows, which a scan has read. Until the scan has ended, another
	// document may have the same hash: see canAnswer.
	provisional
	// ambiguous: a read has found more than one document with the hash. In all else it is like a
	// marker.
	ambiguous
)

// canAnswer reports whether a valid entry may answer a request. complete is the completeness of
// its generation.
func (e *entry) canAnswer(complete *completeness) bool {
	return e.kind == found || (e.kind == provisional && complete.covers(e) && e.scan() <= complete.scan)
}

// scan is the number of the scan that made a provisional entry. It is stored in the place of the
// deadline, because once the scan has succeeded the entry has none.
func (e *entry) scan() uint64 { return uint64(e.deadline) }

// The layout of the head, in bytes. Values exist only in this process, so there is no version
// number.
const (
	atEpoch    = 0
	atSeq      = atEpoch + 8
	atDeadline = atSeq + 8
	atIDSlot   = atDeadline + 8
	atKind     = atIDSlot + 4
	atHash     = atKind + 1
	headBytes  = atHash + len(apikey.Hash{})
)

// encode writes the head, then the document's identity and its record if there is one. A record
// over MaxRecordBytes becomes a marker, and kept is false.
func (e *entry) encode(id apikey.DocID, record *apikey.Record) (value []byte, kept bool) {
	size, kept := headBytes, true
	if e.kind == found || e.kind == provisional {
		if size += maxVarintBytes + len(id) + recordSize(record); size > headBytes+MaxRecordBytes {
			e.kind, size, kept = marker, headBytes, false
		}
	}
	value = make([]byte, headBytes, size)
	binary.LittleEndian.PutUint64(value[atEpoch:], e.epoch)
	binary.LittleEndian.PutUint64(value[atSeq:], e.seq)
	binary.LittleEndian.PutUint64(value[atDeadline:], uint64(e.deadline))
	binary.LittleEndian.PutUint32(value[atIDSlot:], e.idSlot)
	value[atKind] = byte(e.kind)
	copy(value[atHash:], e.hash[:])
	if e.kind == found || e.kind == provisional {
		value = appendRecord(appendText(value, string(id)), record)
	}
	return value, kept
}

// decodeEntry reads the head. It also returns the bytes after it, for decodeFound; they are part
// of value.
func decodeEntry(value []byte) (entry, []byte, bool) {
	if len(value) < headBytes {
		return entry{}, nil, false
	}
	e := entry{
		epoch:    binary.LittleEndian.Uint64(value[atEpoch:]),
		seq:      binary.LittleEndian.Uint64(value[atSeq:]),
		deadline: time.Duration(binary.LittleEndian.Uint64(value[atDeadline:])),
		idSlot:   binary.LittleEndian.Uint32(value[atIDSlot:]),
		kind:     entryKind(value[atKind]),
	}
	copy(e.hash[:], value[atHash:headBytes])
	return e, value[headBytes:], true
}

// ownerOf is the document of an entry with a record, read from the bytes after its head. The
// result is a view of body.
func ownerOf(body []byte) apikey.DocID {
	d := decoder{rest: body}
	return apikey.DocID(d.text())
}

// storeOverhead is the number of bytes that bigcache keeps beside a value: the time, the hash, the
// length and the text of its key, and the entry's own length.
const storeOverhead = 8 + 8 + 2 + keyBytes + maxVarintBytes

// EntryBytes is how much of the cache's size a record takes, in bytes: an upper bound, for
// estimates. A record over MaxRecordBytes leaves only a marker.
func EntryBytes(record *apikey.Record) int {
	size := recordSize(record)
	if size > MaxRecordBytes {
		size = 0
	}
	return headBytes + size + storeOverhead
}

// GenerationBytes is how many bytes of a cache of this size one generation of found keys may take.
// With complete set, there must be space for a second generation. A size of zero means
// DefaultSizeMiB.
func GenerationBytes(sizeMiB int, complete bool) int64 {
	if sizeMiB == 0 {
		sizeMiB = DefaultSizeMiB
	}
	found, _ := splitSize(sizeMiB, complete)
	return int64(found) << 20
}

// NegativeBytes is how many bytes of a cache of this size are for negatives, whatever happens. A
// size of zero means DefaultSizeMiB.
func NegativeBytes(sizeMiB int) int64 {
	if sizeMiB == 0 {
		sizeMiB = DefaultSizeMiB
	}
	_, negatives := splitSize(sizeMiB, false)
	return int64(negatives) << 20
}
