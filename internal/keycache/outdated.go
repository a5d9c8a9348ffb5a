package keycache

import "github.com/keytail/keytail/internal/apikey"

// outdatedSample is how many entries OutdatedShare looks at: with this many, a share of 5 % is right
// to half a percent (two standard deviations), and they take some milliseconds.
const outdatedSample = 10_000

// OutdatedShare estimates the share of the keys in the cache whose next request needs a read, because
// they have changed, or were deleted, since they were stored. It looks at a sample of the entries of the
// base, and of those of the overlay whose key the base does not hold; which those are depends on their
// hashes alone. Zero for an empty cache.
func (c *Cache) OutdatedShare() float64 {
	g := c.current.Load()
	base := c.sampleOutdated(g, g.base.Load(), func(*apikey.Hash) bool { return true })
	// In an open cache the overlay has hardly anything that the base has not.
	overlay := c.sampleOutdated(g, c.overlay, func(h *apikey.Hash) bool { return g.get(h) == nil })
	keys := base.keys + overlay.keys
	if keys == 0 {
		return 0
	}
	return (base.outdated + overlay.outdated) / keys
}

// outdatedKeys are estimates for a store.
type outdatedKeys struct{ keys, outdated float64 }

// sampleOutdated looks at some keys of a store that count.
func (c *Cache) sampleOutdated(g *generation, store *byteStore, counts func(*apikey.Hash) bool) outdatedKeys {
	seen, looked, outdated := 0, 0, 0
	for key, value := range store.all() {
		if seen == outdatedSample {
			break
		}
		seen++
		h, ok := hashOf(key, value)
		if !ok {
			continue
		}
		if e, _, ok := g.decodeEntry(value, &h); !ok || !e.hasRecord() || !counts(&h) {
			continue
		}
		looked++
		if !c.NeedsAudit(h) {
			outdated++
		}
	}
	if seen == 0 {
		return outdatedKeys{}
	}
	each := float64(store.len()) / float64(seen)
	return outdatedKeys{keys: float64(looked) * each, outdated: float64(outdated) * each}
}
