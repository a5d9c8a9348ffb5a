package keycache

import (
	"sync/atomic"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// generation is one store of entries and what is known of its completeness. Stamps, epoch, floor
// and freshness belong to the Cache: an entry means the same in each generation.
type generation struct {
	*byteStore
	// complete is the completeness that the last successful scan published, nil before the first.
	// It stays when the completeness has ended.
	complete atomic.Pointer[completeness]
}

// completeness means: every document that a majority read could see at the ticket's floor was put
// into the generation, and nothing was evicted while evictions has this value. From then on a hash
// that the generation does not hold is not in the database, unless a change has shown it since.
type completeness struct {
	// scan is the number of the scan that published it.
	scan      uint64
	ticket    Ticket
	evictions uint64
	// unreadable is how many events had not shown all of their hashes. One more, and no hash is
	// certainly absent.
	unreadable uint64
}

// covers reports whether the scan belongs to the entry's epoch.
func (c *completeness) covers(e *entry) bool {
	return c != nil && c.ticket.epoch == e.epoch
}

func newGeneration(sizeMiB int) (*generation, error) {
	store, err := newByteStore(sizeMiB)
	if err != nil {
		return nil, err
	}
	return &generation{byteStore: store}, nil
}

// isAbsent reports whether a hash that the generation did not hold is therefore known to be
// absent. complete must have been loaded before the lookup: a scan that ended in between may have
// put the hash there.
func (c *Cache) isAbsent(g *generation, complete *completeness, h *apikey.Hash) bool {
	if complete == nil || (guard.AbsentEpoch && complete.ticket.epoch != c.epoch.Load()) {
		return false
	}
	// A document that appeared after the scan showed its hash in its event.
	if guard.AbsentByHash && c.byHash.load(c.byHash.ofHash(h)) > complete.ticket.seq {
		return false
	}
	if guard.AbsentUnread && complete.unreadable != c.unreadable.Load() {
		return false
	}
	// Last, and after the lookup: everything that was evicted before the lookup has moved the
	// counter by now.
	return !guard.AbsentEvictions || g.evictions.Load() == complete.evictions
}

// isComplete reports whether the generation is complete now.
func (c *Cache) isComplete(g *generation) bool {
	complete := g.complete.Load()
	return complete != nil && complete.ticket.epoch == c.epoch.Load() &&
		complete.unreadable == c.unreadable.Load() && complete.evictions == g.evictions.Load()
}

// put stores into the generation in use and, if one is being built aside, into that one too: what
// is stored while a scan runs must be in the generation that the scan ends in.
func (c *Cache) put(h *apikey.Hash, value []byte) {
	c.current.Load().set(h, value)
	if aside := c.aside.Load(); aside != nil {
		aside.set(h, value)
	}
}
