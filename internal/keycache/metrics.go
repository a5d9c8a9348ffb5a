package keycache

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are not touched by hits.
type counters struct {
	refreshDropped atomic.Uint64
	oversize       atomic.Uint64
	mismatch       atomic.Uint64
	duplicates     atomic.Uint64
}

// Stats is a snapshot of the cache for people and gauges. Its parts are read one after the other.
type Stats struct {
	// Epoch is odd while the stream's history is lost.
	Epoch uint64
	// Entries counts the entries of the base, Overlay those that were stored since its scan, and
	// Negatives the unknown hashes, valid or not.
	Entries   int
	Overlay   int
	Negatives int
	// Complete: an unknown hash needs no read.
	Complete bool
	// Evictions of live entries in the current generation.
	Evictions uint64
	// MovedShare is the share of hash slots that changes have stamped since the last scan. An
	// unknown hash in such a slot needs a read.
	MovedShare float64
	// RefreshesWaiting are the refreshes in the queue. RefreshesDropped counts those that found it
	// full.
	RefreshesWaiting int
	RefreshesDropped uint64
	// CapacityBytes is what the byte stores have allocated.
	CapacityBytes int
	// Mismatches are the wrong entries that audits have found. Must be zero.
	Mismatches uint64
	// Duplicates is how often a read or a scan has found a hash that more than one document has.
	// Zero while the unique index exists.
	Duplicates uint64
	// Changes is the number of applied changes.
	Changes uint64
}

// Trusted reports whether the stream has its history.
func (s Stats) Trusted() bool { return !isOdd(s.Epoch) }

// Stats reads the numbers. It takes the shards' locks one by one, so do not call it for each
// request.
func (c *Cache) Stats() Stats {
	g := c.current.Load()
	return Stats{
		Complete:      c.isComplete(g),
		Evictions:     g.base.Load().dropped(),
		MovedShare:    float64(g.shown.Load()) / float64(len(g.slots.byHash)),
		Epoch:         c.epoch.Load(),
		Entries:       g.base.Load().len(),
		Overlay:       c.overlay.len(),
		Negatives:     c.negatives.len(),
		CapacityBytes: c.capacity(),
		Mismatches:    c.counters.mismatch.Load(),
		Duplicates:    c.counters.duplicates.Load(),
		Changes:       c.seq.Load(),

		RefreshesWaiting: len(c.refresh),
		RefreshesDropped: c.counters.refreshDropped.Load(),
	}
}

// capacity of all stores, including the generation aside.
func (c *Cache) capacity() int {
	size := c.current.Load().base.Load().capacity() + c.overlay.capacity() + c.negatives.capacity()
	if aside := c.aside.Load(); aside != nil {
		size += aside.base.Load().capacity()
	}
	return size
}

// GenerationBytes is the largest size of a base.
func (c *Cache) GenerationBytes() int64 { return int64(c.sizes.base) << 20 }

// Trusted reports whether the stream has its history now.
func (c *Cache) Trusted() bool { return !isOdd(c.epoch.Load()) }

// Collectors returns the cache's metrics, to be registered once.
func (c *Cache) Collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	counter := func(name, help string, value *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(value.Load()) })
	}
	return []prometheus.Collector{
		gauge("keytail_epoch", "Epoch of the cache: odd while the change stream's history is lost.",
			func() float64 { return float64(c.epoch.Load()) }),
		gauge("keytail_cache_entries", "Keys in the cache, valid or not.",
			func() float64 { return float64(c.current.Load().base.Load().len()) }),
		gauge("keytail_cache_overlay_entries", "Keys that were stored since the last scan that filled the cache, valid or not.",
			func() float64 { return float64(c.overlay.len()) }),
		gauge("keytail_cache_negatives", "Unknown hashes in the cache, valid or not.",
			func() float64 { return float64(c.negatives.len()) }),
		gauge("keytail_cache_bytes", "Bytes allocated for entries, without their index, the slots, and decoded records.",
			func() float64 { return float64(c.capacity()) }),
		gauge("keytail_complete", "1 while the cache holds every key, so that an unknown key needs no read.",
			func() float64 {
				if c.isComplete(c.current.Load()) {
					return 1
				}
				return 0
			}),
		gauge("keytail_cache_evictions", "Live entries evicted from the current generation.",
			func() float64 { return float64(c.current.Load().base.Load().dropped()) }),
		gauge("keytail_slots", "Size of each table of change numbers.",
			func() float64 { return float64(len(c.current.Load().slots.byID)) }),
		counter("keytail_audit_mismatch_total", "Entries that differed from the database although no change explains it. Must stay zero.",
			&c.counters.mismatch),
		counter("keytail_duplicate_hashes_total", "Times that a read or a scan found a hash that more than one document has. Must stay zero: create the unique index on the hash.",
			&c.counters.duplicates),
		counter("keytail_changes_total", "Applied changes of documents.", &c.seq),
		counter("keytail_cache_front_misses_total", "Cache hits whose record had to be decoded, because the front of the cache, which holds decoded ones, did not have it.",
			&c.front.misses),
		counter("keytail_event_refusals_total", "Answers from the event of an update that switches a key off or lets it expire, before its document was read again.",
			&c.refusals.answered),
		counter("keytail_refresh_dropped_total", "Refreshes dropped because their queue was full.",
			&c.counters.refreshDropped),
		counter("keytail_cache_oversize_total", "Records that were too large for the cache.", &c.counters.oversize),
	}
}
