package usage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// slow is a database that takes time for each key. It is for a synctest bubble.
type slow struct {
	*Recorder
	t        *testing.T
	logs     *observer.ObservedLogs
	registry *prometheus.Registry

	mutex sync.Mutex
	// perKey and perCommand are how long a command takes. refuses, when not
	// nil, is the immediate reply to every command.
	perKey, perCommand time.Duration
	refuses            error
	// sizes are those of all commands, written is how many updates were
	// acknowledged.
	sizes    []int
	written  int
	timeouts int
}

func newSlow(t *testing.T, perKey time.Duration, change ...func(*Config)) *slow {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	config := Config{
		Keys: (&mongo.Client{}).Database("d").Collection("api_keys"), LastUsed: "last_used", UsageCount: "usage_count",
		IDValue: keystore.DefaultSchema().IDValue, Logger: zap.New(core),
		KeyInterval: time.Nanosecond,
	}
	registry := prometheus.NewRegistry()
	config.Registerer = registry
	for _, f := range change {
		f(&config)
	}
	u, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &slow{Recorder: u, t: t, logs: logs, registry: registry, perKey: perKey}
	u.writer = s
	return s
}

func (s *slow) BulkWrite(ctx context.Context, models []mongo.WriteModel, _ ...options.Lister[options.BulkWriteOptions]) (*mongo.BulkWriteResult, error) {
	s.mutex.Lock()
	takes, refuses := s.perCommand+time.Duration(len(models))*s.perKey, s.refuses
	s.sizes = append(s.sizes, len(models))
	s.mutex.Unlock()
	if refuses != nil {
		return nil, refuses
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.timeouts++
		return nil, ctx.Err()
	case <-timer.C:
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.written += len(models)
	return &mongo.BulkWriteResult{MatchedCount: int64(len(models))}, nil
}

// came returns the commands so far.
func (s *slow) came() (sizes []int, written, timeouts int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.sizes), s.written, s.timeouts
}

// becomes changes how long the database takes.
func (s *slow) becomes(perKey, perCommand time.Duration) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.perKey, s.perCommand = perKey, perCommand
}

func (s *slow) use(keys int) {
	for i := range keys {
		s.Record(docID(s.t, int32(i)), day)
	}
}

// run runs the Recorder until the returned function is called.
func (s *slow) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	}
}

// lines returns the log lines, with their level.
func (s *slow) lines() []string {
	var lines []string
	for _, l := range s.logs.All() {
		lines = append(lines, fmt.Sprintf("%s %s %v", l.Level, l.Message, l.ContextMap()))
	}
	return lines
}

// TestAFlushThatTimesOutIsMadeSmaller: a thousand keys take 10 s, and a command
// may take 3 s.
func TestAFlushThatTimesOutIsMadeSmaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, 10*time.Millisecond)
		defer s.run()()
		for range 30 {
			s.use(1000)
			time.Sleep(10 * time.Second)
		}
		sizes, written, timeouts := s.came()
		if timeouts > 4 {
			t.Errorf("%d of %d commands timed out: %v", timeouts, len(sizes), sizes)
		}
		if written < 10_000 {
			t.Errorf("%d updates were written in 5 min, want 10000 at least", written)
		}
	})
}

// TestAStopWritesWhatItCan: 600 keys would take 6 s, and a stop has 5 s.
func TestAStopWritesWhatItCan(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSlow(t, 10*time.Millisecond)
			stop := s.run()
			if known {
				s.use(600)
				time.Sleep(time.Minute)
			} else {
				time.Sleep(time.Second)
			}
			_, before, _ := s.came()
			s.use(600)
			began := time.Now()
			stop()
			if took := time.Since(began); took > 9*time.Second {
				t.Errorf("the stop took %v", took)
			}
			sizes, written, _ := s.came()
			if n := written - before; n < 200 {
				t.Errorf("%d of 600 keys were written at the stop (slowness known before: %v), commands: %v", n, known, sizes)
			}
		})
	}
}

// TestUsageDroppedIsAboutUsageCount: if usage_count is not mapped, no use is
// counted as missing from it.
func TestUsageDroppedIsAboutUsageCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, time.Hour, func(c *Config) { c.UsageCount = "" })
		s.use(10)
		if s.Flush(t.Context()) == nil {
			t.Error("no error")
		}
		batch := []pending{{id: docID(t, "a"), count: 2, last: 1}}
		s.recordRefused(batch, []mongo.BulkWriteError{{WriteError: mongo.WriteError{Index: 0, Code: 121}}})
		for what, c := range map[string]prometheus.Counter{"unknown": s.metrics.unknown, "refused": s.metrics.unwilling} {
			if n := testutil.ToFloat64(c); n != 0 {
				t.Errorf("%v uses are counted as dropped (%s), and there is no usage_count", n, what)
			}
		}
	})
}

// TestAFailureIsLoggedWhileItLasts: once, then each minute, and at its end.
// Metrics and Status show it, too.
func TestAFailureIsLoggedWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, time.Hour)
		defer s.run()()
		s.use(116)
		time.Sleep(5*time.Minute + 30*time.Second)
		lines := s.lines()
		if len(lines) < 5 || len(lines) > 6 {
			t.Fatalf("%d lines in five and a half minutes: %q", len(lines), lines)
		}
		for i, line := range lines {
			want := "still not written"
			if i == 0 {
				want = "could not be written"
			}
			for _, want := range []string{want, "pending_keys:116", "since:2000-01-01 00:00:", "failing_for:" + []string{"0s", "1m", "2m", "3m", "4m", "5m"}[i]} {
				if !strings.Contains(line, want) {
					t.Errorf("line %d has no %q: %s", i, want, line)
				}
			}
		}
		status := s.Status()
		if status.Pending != 116 || status.Batch != 1 || time.Since(status.FailingSince) < 5*time.Minute {
			t.Errorf("the status is %+v", status)
		}
		s.metricIs("keytail_usage_pending_keys", 116, 116)
		s.metricIs("keytail_usage_batch_size", 1, 1)
		s.metricIs("keytail_usage_failing_seconds", 300, 330)

		s.becomes(0, time.Millisecond)
		time.Sleep(time.Minute)
		// The command that was in progress may have caused a last reminder.
		all := s.lines()
		if end := all[len(all)-1]; len(all) > len(lines)+2 || !strings.Contains(end, "info last_used and usage_count are written again") || !strings.Contains(end, "failed_for:5m") {
			t.Errorf("at the end: %q", all[len(lines):])
		}
		if status := s.Status(); status.Pending != 0 || !status.FailingSince.IsZero() {
			t.Errorf("at the end the status is %+v", status)
		}
		s.metricIs("keytail_usage_failing_seconds", 0, 0)
	})
}

func (s *slow) metricIs(name string, least, most float64) {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			if v := family.GetMetric()[0].GetGauge().GetValue(); v < least || v > most {
				s.t.Errorf("%s is %v, want %v to %v", name, v, least, most)
			}
			return
		}
	}
	s.t.Errorf("there is no %s", name)
}

// TestABatchGrowsAgain, without a single time-out meanwhile.
func TestABatchGrowsAgain(t *testing.T) {
	for name, faster := range map[string][2]time.Duration{
		"twice as fast":      {5 * time.Millisecond, 0},
		"as it should be":    {10 * time.Microsecond, time.Millisecond},
		"slow for any batch": {0, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow(t, 100*time.Millisecond)
				defer s.run()()
				s.use(1000)
				time.Sleep(2 * time.Minute)
				small := s.Status().Batch
				if small > 30 {
					t.Errorf("a batch has %d keys, and they take 100 ms each", small)
				}
				s.becomes(faster[0], faster[1])
				_, _, before := s.came()
				for range 20 {
					s.use(1200)
					time.Sleep(10 * time.Second)
				}
				want := BatchSize
				if faster[0] > time.Millisecond {
					want = 400
				}
				if n := s.Status().Batch; n < want {
					t.Errorf("a batch has %d keys after three minutes, it had %d: want %d", n, small, want)
				}
				if sizes, _, timeouts := s.came(); timeouts > before {
					t.Errorf("%d commands timed out on the way: %v", timeouts-before, sizes)
				}
			})
		})
	}
}

// TestARefusalDoesNotMakeABatchSmaller, because the size is not the cause.
func TestARefusalDoesNotMakeABatchSmaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, 0)
		s.use(10)
		for _, refuses := range []error{
			mongo.CommandError{Code: 13},
			mongo.CommandError{Code: 11602, Labels: []string{driver.RetryableWriteError}},
			topology.ServerSelectionError{Wrapped: context.DeadlineExceeded},
		} {
			s.use(10)
			s.refuses = refuses
			if s.Flush(t.Context()) == nil {
				t.Error("no error")
			}
			if n := s.Status().Batch; n != BatchSize {
				t.Errorf("after %v a batch has %d keys", refuses, n)
			}
		}
	})
}

// TestAKeyThatTimesOutEndsTheFlush: a batch cannot be smaller than one key.
func TestAKeyThatTimesOutEndsTheFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, time.Hour, func(c *Config) { c.Interval = time.Hour })
		s.use(5000)
		if s.Flush(t.Context()) == nil {
			t.Error("no error")
		}
		if want := []int{1000, 500, 250, 125, 62, 31, 15, 7, 3, 1}; !slices.Equal(s.sizes, want) {
			t.Errorf("commands of %v keys, want %v", s.sizes, want)
		}
		if s.Status().Pending != 5000 {
			t.Errorf("the status is %+v", s.Status())
		}
	})
}

func TestDroppedUsesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, time.Hour, func(c *Config) { c.MaxPending = 10 })
		s.use(100)
		_ = s.Flush(t.Context())
		s.use(100)
		_ = s.Flush(t.Context())
		full := s.logs.FilterMessageSnippet("too many keys wait").All()
		if len(full) != 1 || full[0].ContextMap()["uses"] != int64(80) {
			t.Errorf("logged %q", s.lines())
		}
	})
}

// TestTheDriversTimeoutIsRecognised: the driver's error for a server that does
// not answer in time makes the batch smaller.
func TestTheDriversTimeoutIsRecognised(t *testing.T) {
	each(t, func(t *testing.T, m *mongotest.Server) {
		r := newRig(t, m)
		for i := range 10 {
			r.Record(r.insert(int32(i)), day)
		}
		const limit = 200 * time.Millisecond
		mend := r.fails(bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 2 * limit.Milliseconds()})
		err := r.Recorder.flush(t.Context(), limit, true)
		if !isTooSlow(err) {
			t.Errorf("got %v, want a time-out", err)
		}
		if n := r.batch.sizeFor(limit); n >= 10 {
			t.Errorf("a batch has %d keys after 10 were too many", n)
		}
		mend()
		r.flush()
		r.pends(0, 0)
	})
}
