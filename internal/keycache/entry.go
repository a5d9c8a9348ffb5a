package keycache

import (
	"encoding/binary"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// MaxRecordBytes is the largest encoded record that is kept. A key's document is
// some hundred bytes; one over 16 KiB is read from the database each time.
const MaxRecordBytes = 16 << 10

// entry is the head of a stored value: the stamps of its fill.
type entry struct {
	epoch uint64
	seq   uint64
	// deadline is a distance from the cache's origin on the monotonic clock. Of a
	// provisional entry: see scan.
	deadline time.Duration
	// idSlot is where byID is looked at; of no meaning for a negative.
	idSlot uint32
	kind   entryKind
	hash   apikey.Hash
}

// entryKind says what an entry stands for.
type entryKind uint8

const (
	// negative: no document had the hash.
	negative entryKind = iota
	// found: a record follows.
	found
	// marker: there is a document, but nothing of it is kept. It answers
	// nothing, and keeps a complete cache from taking the hash as absent.
	marker
	// provisional: a record follows, which a scan has seen. Another document may
	// have the same hash as long as the scan has not ended: see answers.
	provisional
	// ambiguous: more than one document has been found to have the hash. Otherwise as
	// a marker.
	ambiguous
)

// answers reports whether an entry that is believed may be an answer. complete is
// that of its generation.
func (e *entry) canAnswer(complete *completeness) bool {
	return e.kind == found || (e.kind == provisional && complete.covers(e) && e.scan() <= complete.scan)
}

// scan is the number of the scan that made a provisional entry. It has the place of
// the deadline, since once the scan has ended well there is none.
func (e *entry) scan() uint64 { return uint64(e.deadline) }

// The layout of the head, in bytes. Values live and die with the process, so
// there is no version.
const (
	atEpoch    = 0
	atSeq      = atEpoch + 8
	atDeadline = atSeq + 8
	atIDSlot   = atDeadline + 8
	atKind     = atIDSlot + 4
	atHash     = atKind + 1
	headBytes  = atHash + len(apikey.Hash{})
)

// encode writes the head, and what was found: the document's identity and its
// record. One over MaxRecordBytes leaves a marker, and false is reported.
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

// decodeEntry reads the head and returns the bytes of what was found, for
// decodeFound. They are part of value.
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

// ownerOf is the document of an entry with a record, from the bytes that follow its
// head. The answer is a view of body.
func ownerOf(body []byte) apikey.DocID {
	d := decoder{rest: body}
	return apikey.DocID(d.text())
}

// storeOverhead is what the byte store keeps beside a value: the time, the hash,
// the length and the text of its key, and the entry's own length.
const storeOverhead = 8 + 8 + 2 + keyBytes + maxVarintBytes

// EntryBytes is how much of the cache's size a record takes, in bytes: an upper
// bound, for estimates. A record over MaxRecordBytes leaves only a marker.
func EntryBytes(record *apikey.Record) int {
	size := recordSize(record)
	if size > MaxRecordBytes {
		size = 0
	}
	return headBytes + size + storeOverhead
}

// GenerationBytes is how much of a cache of this size one generation of found
// keys may take. complete: whether it may be complete, so that there must be
// room for a second one. Zero: DefaultSizeMiB.
func GenerationBytes(sizeMiB int, complete bool) int64 {
	if sizeMiB == 0 {
		sizeMiB = DefaultSizeMiB
	}
	found, _ := splitSize(sizeMiB, complete)
	return int64(found) << 20
}
