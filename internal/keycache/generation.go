package keycache

import (
	"sync/atomic"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// generation is one store of entries and what is known of its completeness.
// Stamps, epoch, floor and freshness are not the generation's: an entry means
// the same in each.
type generation struct {
	*byteStore
	// complete is that of the last scan that ended well, nil before the first. It
	// stays when the completeness has ended.
	complete atomic.Pointer[completeness]
}

// completeness says that every document that a majority read could see at the
// floor of the ticket was put into the generation, when its evictions stood
// where they are said to. From then on a hash that the generation does not hold
// is not in the database, unless a change has shown it since.
type completeness struct {
	// scan is the number of the scan that has published it.
	scan      uint64
	ticket    Ticket
	evictions uint64
	// unreadable is how many events had not shown all of their hashes: one more, and
	// nobody can say which hash is absent.
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

// absent reports whether a hash that the generation did not hold is thereby
// known to be absent. complete was loaded before the generation was asked: a
// scan that ended in between may have put the hash there.
func (c *Cache) isAbsent(g *generation, complete *completeness, h *apikey.Hash) bool {
	if complete == nil || (guard.AbsentEpoch && complete.ticket.epoch != c.epoch.Load()) {
		return false
	}
	// A document that appeared after the scan shows its hash in its event.
	if guard.AbsentByHash && c.byHash.load(c.byHash.ofHash(h)) > complete.ticket.seq {
		return false
	}
	if guard.AbsentUnread && complete.unreadable != c.unreadable.Load() {
		return false
	}
	// Last, and after the generation was asked: whatever was pushed out before
	// has moved the counter by now.
	return !guard.AbsentEvictions || g.evictions.Load() == complete.evictions
}

// whole reports whether the generation is complete now.
func (c *Cache) isComplete(g *generation) bool {
	complete := g.complete.Load()
	return complete != nil && complete.ticket.epoch == c.epoch.Load() &&
		complete.unreadable == c.unreadable.Load() && complete.evictions == g.evictions.Load()
}

// put stores into the generation in use, and into the one that is being built
// aside, if any: what is put while a scan runs must be in what it ends in.
func (c *Cache) put(h *apikey.Hash, value []byte) {
	c.current.Load().set(h, value)
	if aside := c.aside.Load(); aside != nil {
		aside.set(h, value)
	}
}
