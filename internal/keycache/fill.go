package keycache

import (
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

// Store keeps what a read found. Nothing is kept for a ticket that is not
// Trusted. Of a record over MaxRecordBytes only the fact that it is there is
// kept: it is read again when it is asked for.
func (c *Cache) Store(t Ticket, h apikey.Hash, f Finding) {
	if guard.TrustedStore && !t.Trusted() {
		return
	}
	if !guard.SeqBeforeRead {
		t.seq = c.seq.Load()
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

// StoreByID keeps what a read by _id found. Such a read cannot know whether
// another document has the same hash, so it may only renew an entry of the same
// document.
func (c *Cache) StoreByID(t Ticket, h apikey.Hash, f Finding) {
	c.Store(t, h, f)
}

// encode makes the entry of a finding.
func (c *Cache) encode(t Ticket, h apikey.Hash, f Finding) (value []byte, kept bool) {
	e := c.entryOf(t, h, f)
	e.deadline = c.config.Now().Sub(c.origin) + c.config.MaxAge
	return e.encode(f.ID, f.Record)
}

func (c *Cache) entryOf(t Ticket, h apikey.Hash, f Finding) entry {
	e := entry{epoch: t.epoch, seq: t.seq, hash: h}
	if f.Found {
		e.kind, e.idSlot = found, c.byID.ofID(f.ID)
	}
	if f.Ambiguous {
		e.kind = marker
	}
	return e
}
