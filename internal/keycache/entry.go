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
	// deadline is a distance from the cache's origin on the monotonic clock. A provisional entry has
	// none: once its scan has succeeded it needs none, and until then it is not valid.
	deadline time.Duration
	// scan is the number of the scan that made a provisional entry.
	scan uint64
	// idSum selects the document's slot. It has no meaning for an entry without a record.
	idSum uint64
	kind  entryKind
	hash  apikey.Hash
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

	kinds entryKind = 0x0f
)

// Bits of the byte that holds an entry's kind.
const (
	// fromScan: a scan has stored the entry into the base that it fills. All of these share the
	// stamps of the scan's ticket, so they are stored once, in the generation.
	fromScan byte = 1 << 6
	// beginsWithZeros: the hash has the bytes that the byte store replaces (storeKey).
	beginsWithZeros byte = 1 << 7
)

// hasRecord reports whether a record follows the head.
func (e *entry) hasRecord() bool { return e.kind == found || e.kind == provisional }

// canAnswer reports whether a valid entry may answer a request. complete is the completeness of
// the generation in use.
func (e *entry) canAnswer(complete *completeness) bool {
	return e.kind == found || (e.kind == provisional && complete.covers(e) && e.scan <= complete.scan)
}

// The layout of the head, in bytes. Values exist only in this process, so there is no version
// number. Of the hash only those bytes are stored that are not the byte store's key. An entry with
// fromScan ends here.
const (
	atKind       = 0
	atHash       = atKind + 1
	sharedBytes  = atHash + len(apikey.Hash{}) - keyBytes
	atEpoch      = sharedBytes
	atSeq        = atEpoch + 8
	atDeadline   = atSeq + 8
	ownBytes     = atDeadline + 8
	stampedBytes = ownBytes - sharedBytes
)

// encode makes the value of an entry that is stored on demand: the head with its stamps, then the
// document's identity and its record if there is one. A record over MaxRecordBytes becomes a marker,
// and kept is false.
func (e *entry) encode(id apikey.DocID, record *apikey.Record) (value []byte, kept bool) {
	body, kept := e.limit(id, record)
	value = e.appendShared(make([]byte, 0, ownBytes+body), 0)
	deadline := uint64(e.deadline)
	if e.kind == provisional {
		deadline = e.scan
	}
	for _, stamp := range [...]uint64{e.epoch, e.seq, deadline} {
		value = binary.LittleEndian.AppendUint64(value, stamp)
	}
	return e.appendOwn(value, id, record), kept
}

// appendFromScan appends the value of an entry of the base that a scan fills: encode's, without the
// stamps.
func (e *entry) appendFromScan(b []byte, id apikey.DocID, record *apikey.Record) (value []byte, kept bool) {
	_, kept = e.limit(id, record)
	return e.appendOwn(e.appendShared(b, fromScan), id, record), kept
}

// limit makes a marker of an entry whose record is over MaxRecordBytes, and reports whether it did
// not have to. body is an upper bound for what follows the head.
func (e *entry) limit(id apikey.DocID, record *apikey.Record) (body int, kept bool) {
	if !e.hasRecord() {
		return 0, true
	}
	if body = bodySize(id, record); body > MaxRecordBytes {
		e.kind = marker
		return 0, false
	}
	return body, true
}

// appendShared appends the part of the head that all values have. bit is fromScan or 0.
func (e *entry) appendShared(b []byte, bit byte) []byte {
	first := byte(e.kind) | bit
	if string(e.hash[:keyBytes]) == keyOfZeros {
		first |= beginsWithZeros
	}
	return append(append(b, first), e.hash[keyBytes:]...)
}

// appendOwn appends what follows the head.
func (e *entry) appendOwn(b []byte, id apikey.DocID, record *apikey.Record) []byte {
	if !e.hasRecord() {
		return b
	}
	return appendBody(b, id, record)
}

// bodySize is an upper bound for what follows the head of an entry with a record.
func bodySize(id apikey.DocID, record *apikey.Record) int {
	return textSize(len(id)) + recordSize(record)
}

func appendBody(b []byte, id apikey.DocID, record *apikey.Record) []byte {
	return appendRecord(appendText(b, string(id)), record)
}

// isOf reports whether a stored value is that of the hash by which it was looked up, and not one of
// another hash with the same 64 bits.
func isOf(value []byte, h *apikey.Hash) bool {
	return (value[atKind]&beginsWithZeros != 0) == (string(h[:keyBytes]) == keyOfZeros) &&
		string(value[atHash:sharedBytes]) == string(h[keyBytes:])
}

// hashOf is the hash of a stored value, from its key in the byte store and its head.
func hashOf(key string, value []byte) (h apikey.Hash, ok bool) {
	if len(value) < sharedBytes {
		return h, false
	}
	if value[atKind]&beginsWithZeros == 0 {
		copy(h[:keyBytes], key)
	}
	copy(h[keyBytes:], value[atHash:sharedBytes])
	return h, true
}

// decodeEntry reads the head of a value that was found by h. It also returns the bytes after it,
// for decodeFound; they are part of value. False: it is the value of another hash, or none.
func (g *generation) decodeEntry(value []byte, h *apikey.Hash) (entry, []byte, bool) {
	if len(value) < sharedBytes || !isOf(value, h) {
		return entry{}, nil, false
	}
	e, body := entry{kind: entryKind(value[atKind]) & kinds, hash: *h}, value[sharedBytes:]
	if value[atKind]&fromScan != 0 {
		e.epoch, e.seq, e.scan, e.deadline = g.ticket.epoch, g.ticket.seq, g.scan, g.deadline(h)
	} else {
		e.epoch = binary.LittleEndian.Uint64(value[atEpoch:])
		e.seq = binary.LittleEndian.Uint64(value[atSeq:])
		if last := binary.LittleEndian.Uint64(value[atDeadline:]); e.kind == provisional {
			e.scan = last
		} else {
			e.deadline = time.Duration(last)
		}
		body = value[ownBytes:]
	}
	if e.hasRecord() {
		e.idSum = g.slots.sumOfID(ownerOf(body))
	}
	return e, body, true
}

// ownerOf is the document of an entry with a record, read from the bytes after its head. The
// result is a view of body.
func ownerOf(body []byte) apikey.DocID {
	d := decoder{rest: body}
	return apikey.DocID(d.text())
}
