package keycache

import (
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Lose reports that the stream's history is lost: from here on nothing that was cached before is
// valid. A loss during a loss changes nothing. Lose returns whether there was a history to lose.
func (c *Cache) Lose() bool {
	epoch := c.epoch.Load()
	if isOdd(epoch) || !guard.EpochAtLoss {
		return false
	}
	// One store invalidates everything: each entry carries its epoch, and every check compares it.
	if !guard.EpochAtOpen {
		epoch++ // even immediately, and Open finds nothing to do
	}
	c.epoch.Store(epoch + 1)
	return true
}

// Open reports that a new stream delivers every change later than floor. It must be called after
// Lose (or as the first call), and before any event of the new stream is applied.
func (c *Cache) Open(floor clustertime.Time) {
	// The floor comes first. A fill that sees the even epoch then also sees the floor, and reads
	// at or after the place where the stream begins. In the other order it could read an older
	// snapshot, and the changes between that snapshot and the beginning of the stream would be in
	// neither.
	if guard.OpenFloor {
		c.raiseFloor(floor)
	}
	if epoch := c.epoch.Load(); isOdd(epoch) {
		c.epoch.Store(epoch + 1)
	}
}

// raiseFloor moves the floor up, never down. Only the stream's owner calls it, so the load and the
// store need not be atomic together.
func (c *Cache) raiseFloor(t clustertime.Time) {
	if uint64(t) > c.floor.Load() {
		c.floor.Store(uint64(t))
	}
}

// Epoch is the current epoch, odd while the history is lost.
func (c *Cache) Epoch() uint64 { return c.epoch.Load() }

func isOdd(epoch uint64) bool { return epoch&1 == 1 }
