package devmongo

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// The kinds of oplog entries: the operation types of change events, and noop for
// entries that advance the time without an event.
const (
	kindInsert       = "insert"
	kindUpdate       = "update"
	kindReplace      = "replace"
	kindDelete       = "delete"
	kindDrop         = "drop"
	kindRename       = "rename"
	kindDropDatabase = "dropDatabase"
	kindInvalidate   = "invalidate"
	kindNoop         = "noop"
)

// logEntry is one change. Entries of one transaction share a time and differ in
// index.
type logEntry struct {
	at    clustertime.Time
	index int
	wall  time.Time
	kind  string
	ns    namespace
	to    namespace // rename only
	uuid  [16]byte
	id    any          // _id, for changes of documents
	after bson.Raw     // the document after the change; nil for delete and commands
	diff  *description // update only
	txn   *txnID       // nil outside transactions
}

// txnID is what an event of a transaction carries about it.
type txnID struct {
	lsid   bson.D
	number int64
}

// oplog is the log of changes. The oldest entries are removed above the limit.
type oplog struct {
	entries []*logEntry
	limit   int
	// applied is the time of the last entry. Streams and majority reads see entries up to
	// majority. clock is the cluster time, which clients can advance beyond the log.
	applied, majority, clock clustertime.Time
	held                     bool
}

// tick returns the time of the next entry: the second of the wall clock, but always
// later than every earlier time.
func (o *oplog) tick(now time.Time) clustertime.Time {
	next := clustertime.New(uint32(now.Unix()), 1)
	if next <= o.clock {
		next = o.clock + 1
	}
	o.clock = next
	return next
}

// add appends entries under one new time and returns it.
func (o *oplog) add(now time.Time, entries ...*logEntry) clustertime.Time {
	at := o.tick(now)
	for i, e := range entries {
		e.at, e.index, e.wall = at, i, now
	}
	o.entries = append(o.entries, entries...)
	o.applied = at
	if !o.held {
		o.majority = at
	}
	if extra := len(o.entries) - o.limit; extra > 0 && extra > o.limit/8 {
		o.entries = append([]*logEntry(nil), o.entries[extra:]...)
	}
	return at
}

// oldest is the time of the oldest entry.
func (o *oplog) oldest() clustertime.Time { return o.entries[max(0, len(o.entries)-o.limit)].at }

// after returns the entries after a position that the majority has.
func (o *oplog) after(p position) []*logEntry {
	lo, hi := max(0, len(o.entries)-o.limit), len(o.entries)
	end := hi
	for lo < hi { // the first entry that is not before or at p
		if mid := (lo + hi) / 2; p.before(positionOf(o.entries[mid])) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for end > lo && o.entries[end-1].at > o.majority {
		end--
	}
	return o.entries[lo:end]
}

// rollback removes the entries that the majority does not have.
func (o *oplog) rollback() {
	end := len(o.entries)
	for end > 0 && o.entries[end-1].at > o.majority {
		end--
	}
	o.entries, o.applied = o.entries[:end:end], o.majority
}
