package keycache

// A base ages: for each key that has changed since its scan, the overlay is asked, and the overlay
// holds only so many. A new base holds them all again.

// Rebuild reports whether a new base is worth a scan, and of which kind the scan must be: beside the
// base in use if there is memory for both, otherwise into an empty one. Then keys are read on demand
// until the scan has reached them, so it is worth it only when half of the base is of no use.
func (c *Cache) Rebuild() (ScanKind, bool) {
	g := c.current.Load()
	kind, changed := c.RebuildKind(), c.changedKeys(g)
	if !c.isFilled(g) {
		return kind, false
	}
	if g.ended.Load().isAll() {
		return kind, true
	}
	keys := int64(g.base.Load().len())
	if kind == ScanIntoEmpty {
		return kind, changed > keys/2
	}
	return kind, changed > c.overlayHolds(g)*rebuildAt/rebuildOf
}

// rebuildAt of rebuildOf is how much of the overlay changed keys may take.
const rebuildAt, rebuildOf = 3, 4

// changedKeys estimates how many keys have changed since the scan that filled the base, or are new:
// those that share a slot with a change cannot be told from those that have changed.
func (c *Cache) changedKeys(g *generation) int64 {
	keys, slots := int64(g.base.Load().len()), int64(len(g.slots.byID))
	return g.changed.Load() * max(slots, keys) / slots
}

// typicalBytes is the size of an entry where the base does not show it, because it has none.
const typicalBytes = 165

// overlayHolds estimates how many keys the overlay holds, if they are like those of the base.
func (c *Cache) overlayHolds(g *generation) int64 {
	each := int64(typicalBytes)
	if store := g.base.Load(); store.len() > 0 {
		each = store.used.Load() / int64(store.len())
	}
	return int64(c.sizes.overlay) << 20 / (each + int64(stampedBytes))
}

// RebuildKind is the kind of scan that makes a new base: ScanAside if there is memory for two.
func (c *Cache) RebuildKind() ScanKind {
	if used := c.current.Load().base.Load().used.Load(); int64(c.room())<<20 < used+used/unevenness {
		return ScanIntoEmpty
	}
	return ScanAside
}

// RepairKind is the kind of scan that completes a cache which is not complete: in place if a scan of
// this epoch has filled the base, otherwise as RebuildKind.
func (c *Cache) RepairKind() ScanKind {
	if c.isFilled(c.current.Load()) {
		return ScanInPlace
	}
	return c.RebuildKind()
}

// isFilled reports whether a scan of this epoch has filled the base.
func (c *Cache) isFilled(g *generation) bool {
	return g.complete.Load().epoch() == c.epoch.Load()
}

// mayFit reports whether so many documents may fit into a new base, if they are like those of the base in
// use, and as many of them have a hash. Without one that a scan of this epoch has filled, this is not known: it is tried.
func (c *Cache) mayFit(kind ScanKind, keys int64) bool {
	g := c.current.Load()
	store := g.base.Load()
	if !c.isFilled(g) || store.len() == 0 {
		return true
	}
	each := float64(store.used.Load()) / float64(max(int64(store.len()), g.documents))
	return float64(keys)*each <= float64(c.sizeOf(kind)<<20)
}

// sizeOf is how many MiB the base of a scan may take.
func (c *Cache) sizeOf(kind ScanKind) int {
	if kind == ScanAside {
		return max(1, c.room())
	}
	return c.sizes.base
}

// room is how many MiB a second base may take beside the one in use.
func (c *Cache) room() int {
	return c.sizes.base - (c.current.Load().base.Load().capacity()+1<<20-1)>>20
}

// FillOnDemand prepares the cache for a collection that does not fit: from now on it keeps the keys
// that requests ask for, until the next scan that succeeds. Without it keys would be stored in the
// overlay alone if no scan of this epoch has begun, and if one has failed, the oldest would make room
// for the newest. It does nothing if a scan of this epoch has filled the base, or if the cache is filled
// on demand already. It must not run at the same time as a scan.
func (c *Cache) FillOnDemand() error {
	g := c.current.Load()
	if c.isFilled(g) {
		return nil
	}
	if base := g.base.Load(); g.open.Load() {
		if base.sizeMiB == 1 {
			return nil // too small to be divided
		}
		// The entries in use stay.
		return base.fillOnDemand()
	}
	base, err := newOnDemandStore(c.sizes.base)
	if err != nil {
		return err
	}
	fresh := newGeneration(base, g.slots, c.config.MaxAge)
	fresh.openAt(0)
	c.current.Store(fresh)
	c.front.end()
	return nil
}
