package fleetsim

import (
	"math"
	"testing"
	"time"
)

// near checks a figure of a simulation with random pauses.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s: %.3g, want %.3g", what, got, want)
	}
}

// TestSteadyRates: the simulated schedules come to the figures of docs/scale.md.
func TestSteadyRates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		instances                    int
		heartbeats, usage, documents float64
	}{
		{1, 1, 15.4, 0.2},
		{10, 10, 154, 20},
		{100, 100, 333, 2000},
	} {
		got := Steady(Fleet{Instances: c.instances, ActiveKeys: 1000, MaxStale: 15 * time.Second}, time.Hour)
		near(t, "heartbeats", got.Heartbeats, c.heartbeats, 0.02)
		near(t, "usage writes", got.UsageWrites, c.usage, 0.1)
		near(t, "documents of the list", got.ListDocuments, c.documents, 0.1)
	}
}

// TestALargeFleetWritesNoMoreUses than one of a hundred, and fewer heartbeats for each instance.
func TestALargeFleetWritesNoMoreUses(t *testing.T) {
	t.Parallel()
	got := Steady(Fleet{Instances: 1000, ActiveKeys: 100, MaxStale: 15 * time.Second}, 2*time.Hour)
	near(t, "heartbeats", got.Heartbeats, 1000.0/3, 0.02)
	near(t, "usage writes", got.UsageWrites, 33.3, 0.1)
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	c := Costs{InstanceRate: 100_000, MemberRate: 1_000_000}
	alone := Recover(1, 1, 1_000_000, c)
	near(t, "alone", alone.Last.Seconds(), 10, 1e-6)
	if alone.AtOnce != 1 {
		t.Errorf("%d scans at once", alone.AtOnce)
	}
	// All begin within the longest spread of a quarter of an hour, in which one member cannot send 10^9
	// documents at 10^6 a second: it is the limit. With three members the spread is, and the last scan is
	// hardly slower than one that is alone.
	const spread = 15 * time.Minute
	one, three := Recover(1000, 1, 1_000_000, c), Recover(1000, 3, 1_000_000, c)
	near(t, "one member", one.Last.Seconds(), 1000, 0.05)
	near(t, "three members", three.Last.Seconds(), (spread + c.Scan(1_000_000)).Seconds(), 0.02)
	if one.AtOnce < 20 || three.AtOnce >= one.AtOnce || one.Half >= one.Last {
		t.Errorf("one member %+v, three %+v", one, three)
	}
}

func TestAuditsDoNotOverlapWithoutEnd(t *testing.T) {
	t.Parallel()
	c := Costs{InstanceRate: 100_000, MemberRate: 1_000_000}
	share, documents := Audits(1, 1_000_000, c)
	near(t, "alone", share, 10.0/3600, 1e-6)
	near(t, "documents", documents, 1_000_000.0/3600, 1e-6)
	// A thousand audits of 10 s take longer than an hour, one after the other.
	if share, documents = Audits(1000, 1_000_000, c); share > 0.001001 || documents > 100_001 {
		t.Errorf("a thousand: a share of %v, %v documents a second", share, documents)
	}
}
