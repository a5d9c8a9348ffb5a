package changestream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	driverevent "go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestPlacement: only a member that is behind, or does not answer, sends the stream to the
// primary, and only where the read preference allows it; the stream goes back once.
func TestPlacement(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	preferences := map[string]*readpref.ReadPref{
		"none": nil, "primary": readpref.Primary(), "secondary": readpref.Secondary(),
		"secondaryPreferred": readpref.SecondaryPreferred(), "nearest": readpref.Nearest(),
	}
	causes := map[error]bool{
		errFreshnessMiss: true, errWatchdog: true, lost(reasonCatchUp, errCatchUpTooSlow): true, lost(reasonNoProgress, errFreshnessMiss): true,
		errOutageOver: false, errDriverResumed: false, fmt.Errorf("primary stepped down: %w", mongo.CommandError{Code: 189}): false, errors.New("EOF"): false,
	}
	for name, preference := range preferences {
		for cause, behind := range causes {
			p := placement{preference: preference, random: rand.Float64}
			want := behind && (name == "secondaryPreferred" || name == "nearest")
			if got := p.failed(cause, now); got != want || (p.current().Mode() == readpref.PrimaryMode) != (want || name == "none" || name == "primary") {
				t.Errorf("%s after %v: moves %v, then reads from %v", name, cause, got, p.current())
			}
			if !want {
				continue
			}
			if p.failed(errFreshnessMiss, now) {
				t.Errorf("%s: it moves again, from the primary", name)
			}
			if p.returns(now.Add(awayTime/2 - time.Second)) {
				t.Errorf("%s: it returns too early", name)
			}
			late := now.Add(awayTime*3/2 + time.Second)
			if !p.returns(late) || p.returns(late) || p.current() != preference {
				t.Errorf("%s: after its time it does not return once, and reads from %v", name, p.current())
			}
		}
	}
}

// modes records the read preferences of the aggregates that a client sends.
type modes struct {
	mutex sync.Mutex
	all   []string
}

func (m *modes) monitor() *driverevent.CommandMonitor {
	return &driverevent.CommandMonitor{Started: func(_ context.Context, e *driverevent.CommandStartedEvent) {
		if e.CommandName != "aggregate" {
			return
		}
		mode, ok := e.Command.Lookup("$readPreference", "mode").StringValueOK()
		if !ok {
			mode = "primary"
		}
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.all = append(m.all, mode)
	}}
}

// waitFor waits until the last aggregate has this mode.
func (m *modes) waitFor(t *testing.T, mode string) {
	t.Helper()
	mongotest.Eventually(t, patience, func() bool {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		return len(m.all) > 0 && m.all[len(m.all)-1] == mode
	}, "no stream is opened with the read preference ", mode)
}

// TestTheStreamLeavesAMemberThatIsBehind, for the primary, and goes back after some time. It
// resumes each time: nothing is lost. (Heartbeats that go elsewhere never arrive.)
func TestTheStreamLeavesAMemberThatIsBehind(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		var seen modes
		var later atomic.Int64
		client := s.Connect(t, s.Options("").SetMonitor(seen.monitor()))
		elsewhere := s.Client(t).Database(s.Database(t))
		r := newRig(t, s, true, func(c *Config) {
			c.Database, c.ReadPreference, c.MaxAwait = client.Database(c.Database.Name()), readpref.SecondaryPreferred(), 20*time.Millisecond
			c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
			c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = time.Second })
		})
		r.Heartbeater.beats = elsewhere.Collection(HeartbeatCollection)
		r.runOpen()
		seen.waitFor(t, "primary")
		if got := testutil.ToFloat64(r.Tail.metrics.moved); got != 1 {
			t.Errorf("on the primary keytail_stream_moved is %v", got)
		}
		seen.mutex.Lock()
		before := slices.Clone(seen.all)
		seen.mutex.Unlock()
		if before[0] != "secondaryPreferred" {
			t.Errorf("the stream is opened with %q", before)
		}
		later.Store(int64(2 * awayTime))
		seen.waitFor(t, "secondaryPreferred")
		if got := testutil.ToFloat64(r.Tail.metrics.moved); got != 0 {
			t.Errorf("after its return keytail_stream_moved is %v", got)
		}
		r.insert("meanwhile")
		mongotest.Eventually(t, patience, r.applied(1), "the change is not delivered")
	})
}

// TestHeartbeatsAreRareInALargeFleet, but never so rare that one failure makes answers too old.
func TestHeartbeatsAreRareInALargeFleet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		instances      int
		maxStale, want time.Duration
	}{
		{0, 15 * time.Second, time.Second},
		{1, 15 * time.Second, time.Second},
		{200, 15 * time.Second, time.Second},
		{400, 15 * time.Second, 2 * time.Second},
		{600, 15 * time.Second, 3 * time.Second},
		{1000, 15 * time.Second, 3 * time.Second},
		{1000, time.Minute, 5 * time.Second},
		{1, time.Second, time.Second / 3},
		{1000, time.Second, time.Second / 3},
	} {
		got := HeartbeatInterval(c.instances, c.maxStale)
		if got != c.want {
			t.Errorf("%d instances, max_stale %v: %v, want %v", c.instances, c.maxStale, got, c.want)
		}
		if deadline := c.maxStale / MaxStaleParts; got > deadline {
			t.Errorf("%d instances, max_stale %v: the interval %v is longer than a heartbeat may take (%v)", c.instances, c.maxStale, got, deadline)
		}
	}
	size := 1
	h := newHeartbeater(t, (&mongo.Client{}).Database("db"), func(c *HeartbeaterConfig) {
		c.Interval, c.Instances = 0, func() int { return size }
	})
	if small := h.Interval(); small != time.Second {
		t.Errorf("alone: %v", small)
	}
	if size = 500; h.Interval() != 2500*time.Millisecond {
		t.Errorf("among 500: %v", h.Interval())
	}
	fixed := newHeartbeater(t, (&mongo.Client{}).Database("db"), func(c *HeartbeaterConfig) { c.Instances = func() int { return 500 } })
	if fixed.Interval() != 50*time.Millisecond {
		t.Errorf("a configured interval became %v", fixed.Interval())
	}
}

// TestNoMemberThatIsAllowed: the error does not send the reader to the primary, which is there.
func TestNoMemberThatIsAllowed(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	client := s.Connect(t, s.Options("").SetServerSelectionTimeout(50*time.Millisecond))
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.Database, c.ReadPreference = client.Database(c.Database.Name()), readpref.Secondary()
	})
	err := r.Try(t.Context())
	if f, _ := describe(err); f.code != failedNoMember || !strings.Contains(fmt.Sprint(err), "secondaryPreferred") {
		t.Errorf("it is %v: %v", f.code, err)
	}
}

// TestHeartbeatsOfAFleetDriftApart, and none comes later than its interval.
func TestHeartbeatsOfAFleetDriftApart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		configured time.Duration
		instances  int
		varies     bool
	}{{0, 1, false}, {0, 2, true}, {0, 1000, true}, {2 * time.Second, 1000, false}} {
		h := &Heartbeater{config: HeartbeaterConfig{Interval: c.configured, Instances: func() int { return c.instances }, MaxStale: 15 * time.Second}}
		least, most := h.pause(), h.pause()
		for range 100 {
			pause := h.pause()
			least, most = min(least, pause), max(most, pause)
		}
		if most > h.Interval() || least < h.Interval()*9/10 || (most-least > h.Interval()/20) != c.varies {
			t.Errorf("%d instances, interval %v: pauses from %v to %v", c.instances, h.Interval(), least, most)
		}
	}
}
