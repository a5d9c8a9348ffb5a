package keycache

import (
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Lose says that the stream's history is lost: nothing that was cached before
// is believed from here on. A loss during a loss changes nothing. It reports
// whether there was anything to lose.
func (c *Cache) Lose() bool {
	epoch := c.epoch.Load()
	if odd(epoch) || !guard.EpochAtLoss {
		return false
	}
	// One store is the whole of it: entries carry their epoch, and every check
	// compares it.
	if !guard.EpochAtOpen {
		epoch++ // even at once, and Open finds nothing to do
	}
	c.epoch.Store(epoch + 1)
	return true
}

// Open says that a new stream delivers every change later than floor. It must
// be called after Lose (or as the first call), before any event of the new
// stream is applied.
func (c *Cache) Open(floor clustertime.Time) {
	// The floor comes first. A fill that sees the even epoch then also sees the
	// floor, and reads at or after the place where the stream begins. The other
	// way round it could read an older snapshot, and the changes between that
	// and the stream's begin are in neither.
	if guard.OpenFloor {
		c.raiseFloor(floor)
	}
	if epoch := c.epoch.Load(); odd(epoch) {
		c.epoch.Store(epoch + 1)
	}
}

// raiseFloor moves the floor up, never down. Only the stream's owner calls it,
// so the load and the store need not be one step.
func (c *Cache) raiseFloor(t clustertime.Time) {
	if uint64(t) > c.floor.Load() {
		c.floor.Store(uint64(t))
	}
}

// Epoch is the current epoch, odd while the history is lost.
func (c *Cache) Epoch() uint64 { return c.epoch.Load() }

func odd(epoch uint64) bool { return epoch&1 == 1 }
