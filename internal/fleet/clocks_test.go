package fleet

import (
	"fmt"
	"testing"
	"time"
	"unsafe"
)

// later returns a reading of both clocks some time after base: of the monotonic
// clock by one duration, of the wall clock by another (see clocks_test.go of
// keycache).
func later(base time.Time, monotonic, wall time.Duration) time.Time {
	t := base.Add(wall)
	(*[2]int64)(unsafe.Pointer(&t))[1] += int64(monotonic - wall)
	return t
}

// TestSettingTheWallClockDropsNoInstance: a clock that is set forward does not
// make an instance look dead, one that is set back does not keep a dead one on
// the list.
func TestSettingTheWallClockDropsNoInstance(t *testing.T) {
	base := time.Now()
	for _, c := range []struct {
		monotonic, wall time.Duration
		counts          bool
	}{
		{10 * time.Second, 10 * time.Second, true},
		{10 * time.Second, time.Hour, true}, // set forward, or suspended for an hour
		{10 * time.Second, -time.Hour, true},
		{21 * time.Second, 21 * time.Second, false},
		{21 * time.Second, -time.Hour, false},
	} {
		t.Run(fmt.Sprint(c.monotonic, c.wall), func(t *testing.T) {
			list := []heartbeat{{key: self, Instance: Instance{ID: self}}, {key: "b/1", maxStale: 15 * time.Second, Instance: Instance{ID: "b/1"}}}
			var m observations
			m.update(list, base)
			now := later(base, c.monotonic, c.wall)
			m.update(list, now)
			instances, known := (&snapshot{all: list, until: now}).live(self)
			if !known || (len(instances) == 2) != c.counts {
				t.Errorf("instances are %+v, %v", instances, known)
			}
		})
	}
}
