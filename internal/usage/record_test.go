package usage

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// ticks is the clock of Run: a value means that the interval has passed.
type ticks chan time.Time

func (c ticks) after(time.Duration) <-chan time.Time { return c }

// run runs the Recorder until the returned function is called.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

const patience = 20 * time.Second

func (r *rig) settles(what string) {
	r.t.Helper()
	mongotest.Eventually(r.t, patience, func() bool { return r.entries.Load() == 0 }, what)
}

func TestRunFlushesAtTheIntervalAndAtAStop(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		clock := make(ticks)
		var pauses sync.Map
		r := newRig(t, s, func(c *Config) {
			c.After = func(d time.Duration) <-chan time.Time {
				pauses.Store(d, true)
				return clock.after(d)
			}
		})
		id := r.insert("k")
		stop := r.run()
		r.Record(id, day)
		clock <- day
		r.settles("the interval has passed, and nothing is written")
		r.has("k", 1, day)
		r.Record(id, day.Add(time.Second))
		stop()
		r.pends(0, 0)
		r.has("k", 2, day.Add(time.Second))
		pauses.Range(func(d, _ any) bool {
			if d := d.(time.Duration); d < 5*time.Second || d > 15*time.Second {
				t.Errorf("a pause of %v", d)
			}
			return true
		})
	})
}

func TestAStopWithoutADatabaseLogsTheLoss(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, func(c *Config) { c.After = make(ticks).after })
		r.Record(docID(t, "k"), day)
		r.fails(bson.E{Key: "errorCode", Value: 13})
		r.run()()
		lost := r.logs.FilterMessageSnippet("are lost").All()
		if len(lost) != 1 || lost[0].ContextMap()["keys"] != int64(1) {
			t.Errorf("logged %v", r.logs.All())
		}
	})
}

func TestManyKeysAreFlushedEarly(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, func(c *Config) { c.MaxPending, c.After = 10, make(ticks).after })
		r.run()
		for i := range 9 {
			r.Record(docID(t, int32(i)), day)
			r.Record(docID(t, int32(i)), day)
		}
		if len(r.full) != 0 {
			t.Error("a flush is requested before there are ten keys")
		}
		r.pends(9, 9)
		r.Record(docID(t, int32(9)), day)
		r.settles("ten keys wait, and nothing is written")
	})
}

// TestAFailingDatabaseIsTriedAtTheInterval, however many keys wait.
func TestAFailingDatabaseIsTriedAtTheInterval(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		clock := make(ticks)
		r := newRig(t, s, func(c *Config) { c.MaxPending, c.After = 2, clock.after })
		mend := r.fails(bson.E{Key: "errorCode", Value: 13})
		r.run()
		for i := range 3 {
			r.Record(docID(t, int32(i)), day)
		}
		failures := func(n float64) func() bool {
			return func() bool { return testutil.ToFloat64(r.metrics.failures) == n }
		}
		mongotest.Eventually(t, patience, failures(1), "no early flush")
		for range 3 {
			// Run takes each value only when the flush before it has ended.
			clock <- day
		}
		mongotest.Eventually(t, patience, failures(4), "not once an interval")
		mend()
		clock <- day
		r.settles("not written after the failure's end")
	})
}

func TestMemoryIsBounded(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, func(c *Config) { c.MaxPending = 10 })
		for i := range 10 {
			r.insert(int32(i))
			r.Record(docID(t, int32(i)), day)
		}
		stuck := r.collect(true)
		r.pends(0, 10)
		for i := range 30 {
			r.Record(docID(t, int32(i)), day)
		}
		// Ten in the flush, all of which were used again, and ten more.
		r.pends(20, 20)
		r.counts(r.metrics.full, 10, "uses dropped because too many keys wait")
		r.mergeBack(stuck)
		r.removeWritten(stuck)
		r.pends(20, 20)
		r.flush()
		r.pends(0, 0)
		r.has(int32(3), 2, day)
	})
}

func TestNothingIsLostBetweenUsesAndFlushes(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		const keys, users, uses = 20, 4, 500
		ids := make([]apikey.DocID, keys)
		for i := range ids {
			ids[i] = r.insert(fmt.Sprint("k", i))
		}
		var group sync.WaitGroup
		var using atomic.Int64
		using.Store(users)
		for range users {
			group.Go(func() {
				defer using.Add(-1)
				for i := range uses {
					r.Record(ids[i%keys], day)
				}
			})
		}
		for using.Load() > 0 {
			r.flush()
		}
		group.Wait()
		r.flush()
		r.pends(0, 0)
		for i := range ids {
			r.has(fmt.Sprint("k", i), users*uses/keys, day)
		}
	})
}

func TestRecordOfAKnownKeyAllocatesNothing(t *testing.T) {
	u := unconnected(t)
	id, now := docID(t, "k"), time.Now()
	u.Record(id, now)
	if n := testing.AllocsPerRun(1000, func() { u.Record(id, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestTheIDIsCopied: the id that Record gets is a view of a whole cache entry.
func TestTheIDIsCopied(t *testing.T) {
	u := unconnected(t)
	id := docID(t, strings.Repeat("x", 100))
	u.Record(id, day)
	for held := range u.shardOf(id).uses {
		if unsafe.StringData(string(held)) == unsafe.StringData(string(id)) {
			t.Error("the map holds on to the caller's memory")
		}
	}
	u.Record(apikey.DocID(strings.Clone(string(id))), day)
	if n := u.entries.Load(); n != 1 {
		t.Errorf("%d keys, want one", n)
	}
}

func TestNewReportsEveryMistake(t *testing.T) {
	_, err := New(Config{Interval: -1, MaxPending: -1})
	for _, want := range []string{"the collection", "one of the fields", "the interval is -1ns", "pending keys is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// unconnected is a Recorder whose database is never used.
func unconnected(t testing.TB) *Recorder {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	u, err := New(Config{
		Keys: client.Database("d").Collection("c"), LastUsed: "last_used", UsageCount: "usage_count", IDValue: keystore.DefaultSchema().IDValue,
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func BenchmarkTouch(b *testing.B) {
	for _, keys := range []int{1, 1000} {
		b.Run(fmt.Sprint(keys, " keys"), func(b *testing.B) {
			u := unconnected(b)
			ids := make([]apikey.DocID, keys)
			for i := range ids {
				ids[i] = docID(b, bson.NewObjectID())
				u.Record(ids[i], day)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					u.Record(ids[i%keys], day)
				}
			})
		})
	}
}
