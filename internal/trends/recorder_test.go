package trends

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// world has the metrics that a Recorder reads, and a clock.
type world struct {
	*Recorder
	verdicts *prometheus.CounterVec
	delays   *prometheus.HistogramVec
	losses   *prometheus.CounterVec
	now      time.Time
	age      time.Duration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	registry := prometheus.NewRegistry()
	w := &world{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricVerdicts}, []string{"code", "source"}),
		delays:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricDelays, Buckets: []float64{.1, 1}}, []string{"kind"}),
		losses:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricLosses}, []string{"reason"}),
		now:      time.Date(2026, 11, 30, 3, 0, 5, 0, time.UTC),
	}
	registry.MustRegister(w.verdicts, w.delays, w.losses)
	w.losses.WithLabelValues("never")
	var err error
	if w.Recorder, err = New(Config{Gatherer: registry, Staleness: func() time.Duration { return w.age }, Now: func() time.Time { return w.now }}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) after(d time.Duration) Snapshot {
	w.now = w.now.Add(d)
	w.record(w.now)
	return w.Snapshot()
}

func (w *world) count(code, source string, n int) {
	w.verdicts.WithLabelValues(code, source).Add(float64(n))
}

// TestVerdictsOfTheLastHour: each in its minute, of all sources together, and none from before
// the first reading or from before the hour.
func TestVerdictsOfTheLastHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.count("VALID", "cache", 1000)
	if s := w.after(0); len(s.Verdicts) != 0 {
		t.Errorf("what was counted before the first reading is in %+v", s.Verdicts)
	}
	w.count("VALID", "cache", 5)
	w.count("VALID", "fill", 2)
	w.count("NOT_FOUND", "cache", 9)
	w.after(gatherInterval)
	w.count("VALID", "cache", 1)
	s := w.after(3 * time.Minute)
	if len(s.Verdicts) != 2 || s.Verdicts[0].Code != "NOT_FOUND" || s.Verdicts[1].Total != 8 {
		t.Fatalf("the verdicts are %+v", s.Verdicts)
	}
	valid := s.Verdicts[1].PerMinute
	if valid[minutes-4] != 7 || valid[minutes-1] != 1 || !s.FirstMinute.Equal(time.Date(2026, 11, 30, 2, 4, 0, 0, time.UTC)) {
		t.Errorf("from %v: %v", s.FirstMinute, valid)
	}
	if s = w.after(57 * time.Minute); len(s.Verdicts) != 1 || s.Verdicts[0].Total != 1 {
		t.Errorf("an hour later: %+v", s.Verdicts)
	}
	if s = w.after(24 * time.Hour); len(s.Verdicts) != 0 {
		t.Errorf("a day later: %+v", s.Verdicts)
	}
}

// TestMetricsAreReadEveryTenSeconds, and not at each point of the staleness.
func TestMetricsAreReadEveryTenSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.after(0)
	w.count("VALID", "cache", 1)
	if s := w.after(gatherInterval - time.Second); len(s.Verdicts) != 0 {
		t.Errorf("read too early: %+v", s)
	}
	if s := w.after(time.Second); len(s.Verdicts) != 1 {
		t.Errorf("not read: %+v", s)
	}
}

func TestClockThatIsSetBackLosesNoMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.after(0)
	w.count("VALID", "cache", 3)
	w.after(10 * time.Minute)
	w.count("VALID", "cache", 4)
	w.now = w.now.Add(-time.Hour)
	w.gather(w.now)
	if s := w.Snapshot(); len(s.Verdicts) != 1 || s.Verdicts[0].Total != 7 {
		t.Errorf("the verdicts are %+v", s.Verdicts)
	}
}

func TestDelaysAreThoseOfChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.after(0)
	for _, seconds := range []float64{.01, .02, .5, 60} {
		w.delays.WithLabelValues("change").Observe(seconds)
	}
	w.delays.WithLabelValues("heartbeat").Observe(.01)
	d := w.after(gatherInterval).Delays
	if d.Total != 4 || len(d.Buckets) != 3 || d.Buckets[0].Count != 2 || d.Buckets[1].Count != 1 || d.Buckets[2].Count != 1 {
		t.Errorf("the delays are %+v", d)
	}
	if d.Buckets[0].UpTo != .1 || d.Buckets[1].UpTo != 1 || !math.IsInf(d.Buckets[2].UpTo, 1) {
		t.Errorf("the bounds are %+v", d.Buckets)
	}
	if d = w.after(2 * time.Hour).Delays; d.Total != 0 {
		t.Errorf("two hours later: %+v", d)
	}
}

func TestLossesAreThoseThatHappened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.losses.WithLabelValues("oplog").Add(2)
	if s := w.after(0); len(s.Losses) != 1 || s.Losses[0] != (Losses{"oplog", 2}) {
		t.Errorf("the losses are %+v", s.Losses)
	}
}

// TestStalenessIsARing: the oldest points leave.
func TestStalenessIsARing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var s Snapshot
	for i := range stalenessPoints + 5 {
		w.age = time.Duration(i)
		s = w.after(time.Second)
	}
	if len(s.Staleness) != stalenessPoints || s.Staleness[0].Staleness != 5 || s.Staleness[stalenessPoints-1].At != w.now {
		t.Errorf("%d points from %+v", len(s.Staleness), s.Staleness[0])
	}
}

func TestRunRecordsEachSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if n := len(w.Snapshot().Staleness); n != 3 {
			t.Errorf("%d points in 2.5 s", n)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
