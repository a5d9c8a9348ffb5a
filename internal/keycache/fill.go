package keycache

import (
	"encoding/binary"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Ticket is taken before a database read and vouches for what it found.
type Ticket struct {
	epoch uint64
	seq   uint64
	floor clustertime.Time
}

// Floor is the cluster time that the read must not be older than
// (afterClusterTime, with read concern majority, on the primary). Zero: none.
func (t Ticket) Floor() clustertime.Time { return t.floor }

// Trusted reports whether the stream had its history when the ticket was
// taken. What an untrusted ticket finds answers its own caller and no one else.
func (t Ticket) Trusted() bool { return !odd(t.epoch) }

// Begin takes a ticket. The read must start after it returns.
func (c *Cache) Begin() Ticket {
	var t Ticket
	// Three loads, in this order, all before the read.
	//
	// The epoch first: a loss between here and the store leaves the entry with
	// an epoch that is over.
	t.epoch = c.epoch.Load()
	// Then seq, before the read: a change that is applied while the read is
	// under way gets a higher number, which invalidates the entry.
	t.seq = c.seq.Load()
	// The floor last. Whatever change seq counts has raised the floor before it
	// was counted, so the read contains it. Loaded before seq it could miss a
	// change that seq already counts: late, stale and believed.
	t.floor = clustertime.Time(c.floor.Load())
	return t
}

// Store keeps what a read by the hash found. Nothing is kept for a ticket that is not
// Trusted. Of a record over MaxRecordBytes only the fact that it is there is
// kept: it is read again when it is asked for. The same goes for a finding that is
// Ambiguous.
func (c *Cache) Store(t Ticket, h apikey.Hash, f Finding) {
	if guard.TrustedStore && !t.Trusted() {
		return
	}
	if !guard.SeqBeforeRead {
		t.seq = c.seq.Load()
	}
	if e := c.entryOf(t, h, f); !c.isValid(&e, &h) {
		// It changed meanwhile, and nobody will ever believe this entry. It must not
		// take the place of a newer one.
		return
	}
	if guard.AmbiguousMark && f.Ambiguous {
		c.storeAmbiguous(t, h)
		return
	}
	value, kept := c.encode(t, h, f)
	if !kept {
		c.counters.oversize.Add(1)
	}
	if f.Found {
		c.put(&h, value)
	} else {
		c.negatives.set(&h, value)
	}
}

// encode makes the entry of a finding.
func (c *Cache) encode(t Ticket, h apikey.Hash, f Finding) (value []byte, kept bool) {
	e := c.entryOf(t, h, f)
	e.deadline = c.deadline(&h)
	return e.encode(f.ID, f.Record)
}

// deadline of an entry that is made now.
func (c *Cache) deadline(h *apikey.Hash) time.Duration {
	return c.config.Now().Sub(c.origin) + lifetime(c.config.MaxAge, h)
}

// life is between half of maxAge and all of it, by the hash: entries that are stored
// together, as by a scan, do not end together. The bytes of the hash are not those
// that the byte store finds it by, and are as good as random.
func lifetime(maxAge time.Duration, h *apikey.Hash) time.Duration {
	share := float64(binary.BigEndian.Uint32(h[keyBytes:])) / (1 << 32)
	return maxAge - time.Duration(share*float64(maxAge/2))
}

func (c *Cache) entryOf(t Ticket, h apikey.Hash, f Finding) entry {
	e := entry{epoch: t.epoch, seq: t.seq, hash: h}
	if f.Found {
		e.kind, e.idSlot = found, c.byID.ofID(f.ID)
	}
	return e
}
