package preload

import (
	"testing"
	"time"
)

// fleetOf makes an instance one of n, with this random number.
func fleetOf(n int, random float64) func(*Config) {
	return func(c *Config) {
		c.Instances, c.Random = func() int { return n }, func() float64 { return random }
	}
}

func TestSpreadGrowsWithTheFleetAndTheScan(t *testing.T) {
	for _, c := range []struct {
		instances int
		scan      time.Duration
		random    float64
		want      time.Duration
	}{
		{0, time.Second, 1, 0},
		{1, time.Minute, 1, 0},
		{100, 0, 1, 0},
		{2, 800 * time.Millisecond, 1, 100 * time.Millisecond},
		{81, time.Second, 0.5, 5 * time.Second},
		{81, time.Second, 0, 0},
		{1001, 8 * time.Second, 0.5, longestSpread / 2},
		// A thousand instances with a million keys: eight at a time.
		{1001, 7 * time.Second, 1, 875 * time.Second},
	} {
		if got := spread(c.instances, c.scan, c.random); got != c.want {
			t.Errorf("%d instances, a scan of %v, random number %v: %v, want %v", c.instances, c.scan, c.random, got, c.want)
		}
	}
}

// After a loss, the instances of a fleet scan one after the other; one that starts, or is alone, does
// not wait.
func TestScansOfAFleetAreSpread(t *testing.T) {
	const takes = time.Second
	for _, c := range []struct {
		name      string
		instances int
		why       reason
		request   func(r *rig)
		want      time.Duration
	}{
		{"a loss, alone", 1, reasonNewEpoch, (*rig).reopenStream, 0},
		{"a loss", 81, reasonNewEpoch, (*rig).reopenStream, 5 * time.Second},
		{"incomplete", 81, reasonIncomplete, (*rig).makeIncomplete, 5 * time.Second},
		// Measured, and requested, within two seconds.
		{"a bulk change", 81, reasonDropped, func(r *rig) { r.drop(10); r.drain() }, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			paced(t, func(r *rig) {
				if n := r.scanned(); n != 1 || requested(r, reasonNewEpoch) != 1 {
					r.t.Fatalf("%d scans at start", n)
				}
				time.Sleep(time.Minute)
				c.request(r)
				began := time.Now()
				r.within(time.Minute, "the scan begins", func() bool { return r.scanned() == 2 })
				if waited := time.Since(began); waited < c.want || waited > c.want+2*measureInterval+2*pollInterval {
					r.t.Errorf("the scan began after %v, want %v", waited, c.want)
				}
				if n := requested(r, c.why); n == 0 {
					r.t.Error("the scan has another reason")
				}
			}, fleetOf(c.instances, 0.5), func(c *Config) { c.Store.(*fakeStore).takes = takes })
		})
	}
}

// The audits of a fleet are spread over their interval, also when all instances have scanned at once. If
// they take more time than that, one after the other, the interval is longer.
func TestAuditsOfAFleetAreSpread(t *testing.T) {
	for _, c := range []struct {
		instances   int
		random      float64
		first, next time.Duration
	}{
		{1, 0, auditEvery / 10, auditEvery},
		{1, 0.999, auditEvery * 11 / 10, auditEvery},
		{100, 0.4, auditEvery / 2, auditEvery},
		{1200, 0.4, auditEvery, 2 * auditEvery}, // at a second each, twenty minutes for all
	} {
		paced(t, func(r *rig) {
			for i, want := range []time.Duration{c.first, c.next} {
				began := time.Now()
				r.within(4*auditEvery, "the audit begins", func() bool { return r.scanned() == i+2 })
				if waited := time.Since(began); waited < want*85/100 || waited > want*115/100 {
					r.t.Errorf("%d instances, random number %v: audit %d came after %v, want %v", c.instances, c.random, i+1, waited, want)
				}
			}
		}, audits, fleetOf(c.instances, c.random), func(c *Config) { c.Store.(*fakeStore).takes = time.Second })
	}
}

// TestTheAuditIntervalHasABound: an audit finds defects of the stream, so no number of documents that look
// like instances puts it off for good.
func TestTheAuditIntervalHasABound(t *testing.T) {
	for _, c := range []struct {
		configured, scan time.Duration
		instances        int
		want             time.Duration
	}{
		{time.Hour, time.Second, 5000, 5000 * time.Second},
		{time.Hour, 10 * time.Minute, 5000, longestAuditInterval},
		{2 * longestAuditInterval, 10 * time.Minute, 5000, 2 * longestAuditInterval},
	} {
		if got := auditInterval(c.configured, c.instances, c.scan); got != c.want {
			t.Errorf("%d instances, a scan of %v: each %v, want %v", c.instances, c.scan, got, c.want)
		}
	}
}
