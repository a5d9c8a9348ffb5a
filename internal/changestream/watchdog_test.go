package changestream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestWatchdogClosesASilentStream(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := newRig(t, s, true, func(c *Config) { c.MaxAwait, c.Watchdog = 50*time.Millisecond, 500*time.Millisecond })
		r.runFresh()
		mend := r.failpoint("alwaysOn",
			bson.E{Key: "failCommands", Value: bson.A{"getMore"}},
			bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 3000})
		mongotest.Eventually(t, patience, func() bool { return testutil.ToFloat64(r.Tail.metrics.watchdog) > 0 }, "the watchdog does not fire")
		r.insert("meanwhile")
		mend()
		mongotest.Eventually(t, patience, r.applied(1), "the change is not delivered after it")
		r.stop()
		if r.changes[0].Record.KeyID != "meanwhile" || r.losses != 0 || len(r.changes) != 1 {
			t.Fatalf("got %+v and %d losses", r.changes, r.losses)
		}
	})
}

// TestWatchdogBelongsToARequest: events that have arrived are read without a timer, and the request
// for the next batch has a limit again.
func TestWatchdogBelongsToARequest(t *testing.T) {
	const events = 100
	r, s := openBehind(t, mongotest.StartDevmongo(t, devmongo.Config{}), events)
	read := func() {
		if got, err := r.read(t.Context(), s); err != nil || !got {
			t.Fatalf("read: %v, %v", got, err)
		}
	}
	read()
	if n := s.changes.RemainingBatchLength(); n != events-1 {
		t.Fatalf("the driver holds %d events: the test needs one batch", n)
	}
	// The limit has 12 allocations, and the driver none.
	if n := testing.AllocsPerRun(events-2, read); n > 4 {
		t.Errorf("a read of an event that has arrived has %v allocations", n)
	}
	r.watchdog = 0
	if got, err := r.read(t.Context(), s); got || !errors.Is(err, errWatchdog) {
		t.Errorf("a request without time: %v, %v, want %v", got, err, errWatchdog)
	}
}

// openBehind opens a stream at a position that is this many inserts of keys in the past.
func openBehind(t testing.TB, s *mongotest.Devmongo, inserts int, change ...func(*Config)) (*rig, *stream) {
	t.Helper()
	r := newRig(t, &s.Server, true, append([]func(*Config){quiet}, change...)...)
	position, err := r.watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.token = position.changes.ResumeToken()
	position.close()
	documents := make([]any, inserts)
	for i := range documents {
		documents[i] = bson.D{{Key: "key_hash", Value: bson.NewObjectID().Hex()}, {Key: "is_active", Value: true}}
	}
	if _, err := r.keys.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	opened, err := r.watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.close)
	return r, opened
}

// requestEvents requests events until the driver holds some, again from token on if there are no more.
func requestEvents(b *testing.B, r *rig, s *stream, token bson.Raw) *stream {
	b.Helper()
	for s.changes.RemainingBatchLength() == 0 {
		got, err := r.read(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		if !got {
			s.close()
			r.token = token
			if s, err = r.watch(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	return s
}

// quiet logs nothing, and applies events to nothing.
func quiet(c *Config) { c.Logger, c.Sink = zap.NewNop(), ignore{} }

type ignore struct{}

func (ignore) Lose() bool               { return true }
func (ignore) Open(clustertime.Time)    {}
func (ignore) Apply(*keycache.Change)   {}
func (ignore) Fresh(keycache.Freshness) {}

// BenchmarkWatchdog applies events that have arrived: with a watchdog for each request, as the tail
// does, and with one for each event, for comparison. Requests, and the server's work for them, do not
// count.
func BenchmarkWatchdog(b *testing.B) {
	for _, side := range []struct {
		name string
		step func(ctx context.Context, r *rig, s *stream) error
	}{
		{"each=request", func(ctx context.Context, r *rig, s *stream) error { return r.step(ctx, s) }},
		{"each=event", func(ctx context.Context, r *rig, s *stream) error {
			ctx, cancel := r.requestContext(ctx)
			defer cancel()
			return r.step(ctx, s)
		}},
	} {
		b.Run(side.name, func(b *testing.B) {
			const backlog = 20_000
			r, s := openBehind(b, mongotest.StartDevmongo(b, devmongo.Config{}), backlog)
			behind := r.token
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if s.changes.RemainingBatchLength() == 0 {
					b.StopTimer()
					s = requestEvents(b, r, s, behind)
					b.StartTimer()
				}
				if err := side.step(b.Context(), r, s); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
