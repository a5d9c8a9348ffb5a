package usage

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// shardCount is a power of two, and many times the number of processors of one
// machine.
const shardCount = 256

// shard is a part of the keys with its own lock. It fills a cache line, so that
// two processors do not compete for the same one.
type shard struct {
	mutex sync.Mutex
	// uses maps a document to the uses that are not written yet. An entry stays
	// while its flush is in progress.
	uses map[apikey.DocID]*use
	_    [48]byte
}

// use is what is recorded of one key.
type use struct {
	// count is by how much usage_count must grow.
	count int64
	// last is the latest use, in milliseconds since 1970. Zero: none.
	last int64
	// waiting means that there is something to write. It is false while the
	// recorded uses are being written and no use has been added since.
	waiting bool
}

func (u *Recorder) shardOf(id apikey.DocID) *shard {
	return &u.shards[maphash.String(u.seed, string(id))&(shardCount-1)]
}

// Record records that the key of this document was used.
func (u *Recorder) Record(id apikey.DocID, at time.Time) {
	u.add(id, 1, at.UnixMilli())
}

// add adds to the pending uses of a document.
func (u *Recorder) add(id apikey.DocID, count, last int64) {
	s := u.shardOf(id)
	s.mutex.Lock()
	e := s.uses[id]
	if e == nil {
		if e = u.newEntry(s, id); e == nil {
			s.mutex.Unlock()
			u.metrics.full.Add(float64(count))
			u.dropped.Add(count)
			return
		}
	}
	e.count += count
	e.last = max(e.last, last)
	if !e.waiting {
		e.waiting = true
		if u.waiting.Add(1) >= int64(u.config.MaxPending) {
			u.requestFlush()
		}
	}
	s.mutex.Unlock()
}

// newEntry adds an entry, or returns nil if there are too many. The caller
// holds the shard's lock.
func (u *Recorder) newEntry(s *shard, id apikey.DocID) *use {
	if u.entries.Add(1) > 2*int64(u.config.MaxPending) {
		u.entries.Add(-1)
		return nil
	}
	e := &use{}
	// The id is a view of a whole cache entry: a copy allows that to be freed.
	s.uses[apikey.DocID(strings.Clone(string(id)))] = e
	return e
}

func (u *Recorder) requestFlush() {
	select {
	case u.full <- struct{}{}:
	default: // a flush is already requested
	}
}

// pending is what a flush writes for one document.
type pending struct {
	id          apikey.DocID
	count, last int64
}

// collect takes all pending uses. The entries stay, without content, so that
// there is always a place for uses that are merged back.
func (u *Recorder) collect() []pending {
	select {
	case <-u.full:
	default:
	}
	taken := make([]pending, 0, u.waiting.Load())
	for i := range u.shards {
		s := &u.shards[i]
		s.mutex.Lock()
		for id, e := range s.uses {
			if e.waiting {
				taken = append(taken, pending{id, e.count, e.last})
				*e = use{}
				u.taken.Add(1)
				u.waiting.Add(-1)
			}
		}
		s.mutex.Unlock()
	}
	return taken
}

// removeWritten removes the entries that got no new use since they were
// collected.
func (u *Recorder) removeWritten(done []pending) {
	for i := range done {
		s := u.shardOf(done[i].id)
		s.mutex.Lock()
		if e := s.uses[done[i].id]; e != nil && !e.waiting {
			delete(s.uses, done[i].id)
			u.entries.Add(-1)
		}
		s.mutex.Unlock()
	}
}
