package usage

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// shardCount is a power of two, and many times the processors of one machine.
const shardCount = 256

// shard is a part of the keys with a lock of its own. It fills a cache line, so
// that two processors do not take each other's.
type shard struct {
	mutex sync.Mutex
	// uses maps a document to what is not written yet. An entry stays while its
	// flush is under way.
	uses map[apikey.DocID]*use
	_    [48]byte
}

// use is what is noted of one key.
type use struct {
	// count is what usage_count is to grow by.
	count int64
	// last is the latest use, in milliseconds since 1970. Zero: none.
	last int64
	// waiting: there is something to write. Not so while what was noted is being
	// written, and nothing has come since.
	waiting bool
}

func (u *Recorder) shardOf(id apikey.DocID) *shard {
	return &u.shards[maphash.String(u.seed, string(id))&(shardCount-1)]
}

// Touch notes that the key of this document was used.
func (u *Recorder) Touch(id apikey.DocID, at time.Time) {
	u.note(id, 1, at.UnixMilli())
}

// note adds to what is to be written for a document.
func (u *Recorder) note(id apikey.DocID, count, last int64) {
	s := u.shardOf(id)
	s.mutex.Lock()
	e := s.uses[id]
	if e == nil {
		if e = u.admit(s, id); e == nil {
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
		if u.waiting.Add(1) >= int64(u.config.Most) {
			u.hurry()
		}
	}
	s.mutex.Unlock()
}

// admit makes an entry, or none when there are too many. The caller holds the
// shard's lock.
func (u *Recorder) admit(s *shard, id apikey.DocID) *use {
	if u.held.Add(1) > 2*int64(u.config.Most) {
		u.held.Add(-1)
		return nil
	}
	e := &use{}
	// The id is a view of a whole cache entry: a copy lets go of that.
	s.uses[apikey.DocID(strings.Clone(string(id)))] = e
	return e
}

func (u *Recorder) hurry() {
	select {
	case u.full <- struct{}{}:
	default: // somebody has asked already
	}
}

// pending is what a flush writes for one document.
type pending struct {
	id          apikey.DocID
	count, last int64
}

// collect takes out all that waits. The entries stay, without content, so that
// what is merged back always has its place.
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

// settle forgets entries that need no place any more: nothing has come since they
// were collected.
func (u *Recorder) settle(done []pending) {
	for i := range done {
		s := u.shardOf(done[i].id)
		s.mutex.Lock()
		if e := s.uses[done[i].id]; e != nil && !e.waiting {
			delete(s.uses, done[i].id)
			u.held.Add(-1)
		}
		s.mutex.Unlock()
	}
}
