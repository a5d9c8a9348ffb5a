package usage

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/timing"
)

// shardCount is a power of two, and many times the number of processors of one
// machine.
const shardCount = 256

// shard is a part of the keys with its own lock. It fills a cache line, so that
// two processors do not compete for the same one.
type shard struct {
	mutex sync.Mutex
	// uses maps a document to the uses that are not written yet. An entry stays
	// while its flush is in progress, and until the next write of the key is due.
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
	// due is when it may be written again, by Recorder.elapsed. Zero: now.
	due time.Duration
}

// elapsed is the clock of KeyInterval.
func (u *Recorder) elapsed() time.Duration { return u.config.Now().Sub(u.began) }

// isCrowded reports whether there are so many keys that none is remembered only
// because it was written a short time ago.
func (u *Recorder) isCrowded() bool { return u.entries.Load() >= int64(u.config.MaxPending) }

func (u *Recorder) shardOf(id apikey.DocID) *shard {
	return &u.shards[maphash.String(u.seed, string(id))&(shardCount-1)]
}

// Record records that the key of this document was used.
func (u *Recorder) Record(id apikey.DocID, at time.Time) {
	u.add(id, 1, at.UnixMilli(), false)
}

// addBack adds uses that a flush has taken and not written. The next flush tries
// again.
func (u *Recorder) addBack(id apikey.DocID, count, last int64) { u.add(id, count, last, true) }

// add adds to the pending uses of a document. With now they are due.
func (u *Recorder) add(id apikey.DocID, count, last int64, now bool) {
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
	if now {
		e.due = 0
	}
	if !e.waiting {
		e.waiting = true
		u.waiting.Add(1)
		if u.isCrowded() {
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

// collect takes the pending uses that are due; with all, or when there are too many
// keys, the others, too. The entries stay, without content, so that there is always a
// place for uses that are merged back. An entry that only waited for its next write,
// and was not used meanwhile, is removed.
func (u *Recorder) collect(all bool) []pending {
	select {
	case <-u.full:
	default:
	}
	now, interval := u.elapsed(), u.config.keyInterval()
	all = all || u.isCrowded()
	taken := make([]pending, 0, u.waiting.Load())
	for i := range u.shards {
		s := &u.shards[i]
		s.mutex.Lock()
		for id, e := range s.uses {
			e.limitDue(now, interval)
			switch {
			case !all && e.due > now:
			case e.waiting:
				taken = append(taken, pending{id, e.count, e.last})
				*e = use{due: now + timing.Jitter(interval, Jitter)}
				u.taken.Add(1)
				u.waiting.Add(-1)
			default:
				delete(s.uses, id)
				u.entries.Add(-1)
			}
		}
		s.mutex.Unlock()
	}
	return taken
}

// limitDue brings the next write of a key forward that was postponed for a larger fleet than there is
// now: otherwise it would be up to an hour and a half late.
func (e *use) limitDue(now, interval time.Duration) {
	if longest := interval + time.Duration(Jitter*float64(interval)); e.due > now+longest {
		e.due = now + timing.Jitter(interval, Jitter)
	}
}

// removeWritten removes the entries that got no new use since they were
// collected, and need not be remembered until their next write.
func (u *Recorder) removeWritten(done []pending) {
	now, crowded := u.elapsed(), u.isCrowded()
	for i := range done {
		s := u.shardOf(done[i].id)
		s.mutex.Lock()
		if e := s.uses[done[i].id]; e != nil && !e.waiting && (crowded || e.due <= now) {
			delete(s.uses, done[i].id)
			u.entries.Add(-1)
		}
		s.mutex.Unlock()
	}
}
