package usage

import (
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/mongotest"
)

func TestKeysAreWrittenLessOftenInALargeFleet(t *testing.T) {
	t.Parallel()
	for instances, want := range map[int]time.Duration{
		0: time.Minute, 1: time.Minute, 20: time.Minute, 100: 5 * time.Minute, 1000: 50 * time.Minute, 5000: time.Hour,
	} {
		if got := KeyInterval(instances); got != want {
			t.Errorf("%d instances: %v, want %v", instances, got, want)
		}
	}
	for instances, want := range map[int]time.Duration{
		1: 10 * time.Second, 100: 10 * time.Second, 1000: 100 * time.Second, 5000: 5 * time.Minute,
	} {
		if got := FlushInterval(instances); got != want {
			t.Errorf("%d instances: a flush each %v, want %v", instances, got, want)
		}
	}
	size := 1
	c := Config{Instances: func() int { return size }}
	if got := c.keyInterval(); got != time.Minute {
		t.Errorf("alone: %v", got)
	}
	if size = 100; c.keyInterval() != 5*time.Minute {
		t.Errorf("among 100: %v", c.keyInterval())
	}
	if size = 1000; c.flushInterval() != 100*time.Second {
		t.Errorf("among 1000: a flush each %v", c.flushInterval())
	}
	if c.KeyInterval = 10 * time.Second; c.keyInterval() != 10*time.Second {
		t.Errorf("a configured interval became %v", c.keyInterval())
	}
}

// clocked is a Recorder on an injected clock. tick is what Run does at each interval.
type clocked struct {
	*rig
	passed atomic.Int64
}

func newClocked(t *testing.T, s *mongotest.Server, change ...func(*Config)) *clocked {
	t.Helper()
	c := &clocked{}
	began := time.Now()
	c.rig = newRig(t, s, append([]func(*Config){func(config *Config) {
		config.KeyInterval = 5 * time.Minute
		config.Now = func() time.Time { return began.Add(time.Duration(c.passed.Load())) }
	}}, change...)...)
	return c
}

func (c *clocked) tick(later time.Duration) {
	c.t.Helper()
	c.passed.Add(int64(later))
	if err := c.Recorder.flush(c.t.Context(), batchTimeout, false); err != nil {
		c.t.Fatal(err)
	}
}

// TestABusyKeyIsWrittenOnceInItsInterval (of five minutes, and up to a half less or more), with the sum of its uses; the first use after a
// while is written by the next flush; and a stop writes what waits.
func TestABusyKeyIsWrittenOnceInItsInterval(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		c := newClocked(t, s)
		id := c.insert("busy")
		use := func(at time.Duration) { c.Record(id, day.Add(at)) }
		use(0)
		c.tick(10 * time.Second)
		c.has("busy", 1, day)
		for range 12 {
			use(time.Minute)
			c.tick(10 * time.Second)
		}
		c.has("busy", 1, day)
		c.pends(1, 1)
		c.tick(6 * time.Minute)
		c.has("busy", 13, day.Add(time.Minute))
		c.pends(0, 1) // it is remembered, so that its next write is not too early
		use(2 * time.Minute)
		c.tick(10 * time.Second)
		c.has("busy", 13, day.Add(time.Minute))
		c.counts(c.metrics.written, 2, "keys that were written")
		c.stop(t.Context())
		c.has("busy", 14, day.Add(2*time.Minute))

		c.tick(10 * time.Minute)
		c.pends(0, 0)
		use(time.Hour)
		c.tick(10 * time.Second)
		c.has("busy", 15, day.Add(time.Hour))
	})
}

// TestAKeyIsWrittenSoonerAfterTheFleetShrinks: what was postponed for a large fleet is postponed for the
// small one only.
func TestAKeyIsWrittenSoonerAfterTheFleetShrinks(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		size := 1000
		c := newClocked(t, s, func(config *Config) {
			config.KeyInterval, config.Instances = 0, func() int { return size }
		})
		id := c.insert("busy")
		c.Record(id, day)
		c.tick(10 * time.Second)
		c.Record(id, day.Add(time.Minute))
		c.tick(10 * time.Minute) // of 25 at least
		c.has("busy", 1, day)
		size = 1
		c.tick(10 * time.Second)
		c.has("busy", 1, day)
		c.tick(90 * time.Second)
		c.has("busy", 2, day.Add(time.Minute))
	})
}

// TestAFailedWriteIsNotPostponed: the next flush tries again.
func TestAFailedWriteIsNotPostponed(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		c := newClocked(t, s)
		id := c.insert("k")
		mend := c.fails(bson.E{Key: "errorCode", Value: 13})
		c.Record(id, day)
		if err := c.Recorder.flush(t.Context(), batchTimeout, false); err == nil {
			t.Fatal("the write did not fail")
		}
		mend()
		c.tick(10 * time.Second)
		c.has("k", 1, day)
	})
}

// TestManyKeysAreNotRemembered: the memory is for uses that are not written yet.
func TestManyKeysAreNotRemembered(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		c := newClocked(t, s, func(config *Config) { config.MaxPending = 3 })
		for _, id := range []string{"a", "b"} {
			c.Record(c.insert(id), day)
		}
		c.tick(10 * time.Second)
		c.pends(0, 2)
		if len(c.full) != 0 {
			t.Error("an early flush is requested for two keys of three")
		}
		c.Record(c.insert("c"), day)
		if len(c.full) != 1 {
			t.Error("no early flush is requested for three keys of three")
		}
		c.tick(0)
		c.has("c", 1, day)
		c.pends(0, 1)
	})
}
