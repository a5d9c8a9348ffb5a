package keycache

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// MaxRecordBytes is the largest encoded record that is kept. A key's document is
// some hundred bytes; one of 16 KiB is a sign of misuse of metadata, and is
// read from the database each time.
const MaxRecordBytes = 16 << 10

// noDeadline is the deadline of what is not stored.
const noDeadline = time.Duration(math.MaxInt64)

// entry is the head of a stored value: the stamps of its fill.
type entry struct {
	epoch uint64
	seq   uint64
	// deadline is a distance from the cache's origin on the monotonic clock.
	deadline time.Duration
	// idSlot is where byID is looked at; of no meaning for a negative.
	idSlot uint32
	found  bool
	hash   apikey.Hash
}

// The layout of the head, in bytes. Values live and die with the process, so
// there is no version.
const (
	atEpoch    = 0
	atSeq      = atEpoch + 8
	atDeadline = atSeq + 8
	atIDSlot   = atDeadline + 8
	atFound    = atIDSlot + 4
	atHash     = atFound + 1
	headBytes  = atHash + len(apikey.Hash{})
)

// encode writes the head and the record. It reports false for a record over
// MaxRecordBytes.
func (e *entry) encode(record *apikey.Record) ([]byte, bool) {
	size := headBytes
	if e.found {
		size += recordSize(record)
	}
	if size > headBytes+MaxRecordBytes {
		return nil, false
	}
	value := make([]byte, headBytes, size)
	binary.LittleEndian.PutUint64(value[atEpoch:], e.epoch)
	binary.LittleEndian.PutUint64(value[atSeq:], e.seq)
	binary.LittleEndian.PutUint64(value[atDeadline:], uint64(e.deadline))
	binary.LittleEndian.PutUint32(value[atIDSlot:], e.idSlot)
	copy(value[atHash:], e.hash[:])
	if e.found {
		value[atFound] = 1
		value = appendRecord(value, record)
	}
	return value, true
}

// decodeEntry reads the head and returns the record's bytes, which are part of
// value.
func decodeEntry(value []byte) (entry, []byte, bool) {
	if len(value) < headBytes {
		return entry{}, nil, false
	}
	e := entry{
		epoch:    binary.LittleEndian.Uint64(value[atEpoch:]),
		seq:      binary.LittleEndian.Uint64(value[atSeq:]),
		deadline: time.Duration(binary.LittleEndian.Uint64(value[atDeadline:])),
		idSlot:   binary.LittleEndian.Uint32(value[atIDSlot:]),
		found:    value[atFound] == 1,
	}
	copy(e.hash[:], value[atHash:headBytes])
	return e, value[headBytes:], true
}
