package keycache

import (
	"encoding/binary"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Ticket holds the stamps that are loaded before a database read. With them, Store and Revalidate
// decide whether the result of the read is still valid.
type Ticket struct {
	epoch uint64
	seq   uint64
	floor clustertime.Time
}

// Floor is the cluster time at or after which the read must be (afterClusterTime, with read
// concern majority, on the primary). Zero: no bound.
func (t Ticket) Floor() clustertime.Time { return t.floor }

// Trusted reports whether the stream had its history when the ticket was taken. The result of a
// read with an untrusted ticket answers its own caller only and is not stored.
func (t Ticket) Trusted() bool { return !isOdd(t.epoch) }

// Begin takes a ticket. The read must start after it returns.
func (c *Cache) Begin() Ticket {
	var t Ticket
	// Three loads, in this order, all before the read (DESIGN.md, "Order").
	//
	// The epoch first: if the history is lost between here and the store, the entry carries an
	// epoch that is over.
	t.epoch = c.epoch.Load()
	// Then seq, before the read: a change that is applied during the read gets a higher number,
	// which invalidates the entry.
	t.seq = c.seq.Load()
	// The floor last. Every change that seq counts has raised the floor before it was counted, so
	// the read contains it. If the floor were loaded before seq, the read could miss a change that
	// seq already counts: a stale entry that counts as valid.
	t.floor = clustertime.Time(c.floor.Load())
	return t
}

// Store stores the result of a read by hash. It stores nothing for a ticket that is not Trusted.
// Of a record over MaxRecordBytes it stores only that the document exists; the record is read
// again when it is requested. The same holds for an Ambiguous finding.
func (c *Cache) Store(t Ticket, h apikey.Hash, f Finding) {
	if guard.TrustedStore && !t.Trusted() {
		return
	}
	if !guard.SeqBeforeRead {
		t.seq = c.seq.Load()
	}
	g := c.current.Load()
	if e := g.entryOf(t, h, f); !c.isValid(g, &e) {
		// A change has invalidated the entry already. Storing it would only replace a newer, valid
		// one.
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
	e := c.current.Load().entryOf(t, h, f)
	e.deadline = c.deadline(&h)
	return e.encode(f.ID, f.Record)
}

// deadline is that of an entry that is made now.
func (c *Cache) deadline(h *apikey.Hash) time.Duration {
	return c.sinceOrigin() + lifetime(c.config.MaxAge, h)
}

// sinceOrigin is the time now, as deadlines are kept.
func (c *Cache) sinceOrigin() time.Duration { return c.config.Now().Sub(c.origin) }

// lifetime is between half of maxAge and all of it, depending on the hash: entries that are stored
// together, as by a scan, do not expire together. The bytes of the hash that it uses are not those
// that the byte store uses as the key; they are as good as random.
func lifetime(maxAge time.Duration, h *apikey.Hash) time.Duration {
	share := float64(binary.BigEndian.Uint32(h[keyBytes:])) / (1 << 32)
	return maxAge - time.Duration(share*float64(maxAge/2))
}

func (g *generation) entryOf(t Ticket, h apikey.Hash, f Finding) entry {
	e := entry{epoch: t.epoch, seq: t.seq, hash: h}
	if f.Found {
		e.kind, e.idSum = found, g.slots.sumOfID(f.ID)
	}
	return e
}
