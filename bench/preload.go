package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/keycache"
)

var preloadRow = row{
	name:         "preload",
	title:        "loading all keys at start, and their memory",
	measures:     "preload of 1,000,000 keys: the time from Run to live, with all keys loaded",
	comparedWith: "a bare cursor that reads the raw documents",
	goals:        "at most 1.3 times the time; at most 260 bytes of memory per key; garbage collection uses at most 2 % of one core at rest",
	run:          measurePreload,
	server:       true,
}

var coldRow = row{
	name:         "cold",
	title:        "starting with 100,000 keys",
	measures:     "cold start with 100,000 keys: the time from New, with all checks, to live",
	comparedWith: "a bare cursor that reads the raw documents",
	goals:        "at most 1.5 times the time",
	run:          measureCold,
	server:       true,
}

// secantusNote explains the columns of the times of a start.
const secantusNote = "When keytail starts it reads the first 50 and the last 50 documents by _id (for 5 s at most), and before the scan it counts all documents with the collection's metadata. MongoDB answers both immediately. secantusd-py reads the whole collection for each of them, as the columns show. Subtract these columns to compare keytail with the bare cursor."

func measurePreload(ctx context.Context, e *env, r *result) error {
	if err := measureMemory(ctx, e, r); err != nil {
		return err
	}
	n := e.size(1_000_000, 2000)
	if e.URI == "" && n > maxKeysOnSecantus {
		n = maxKeysOnSecantus
		r.note(fmt.Sprintf("The time was measured with %d keys: with a million, secantusd-py does not return the first batch within the 15s that keytail allows. Memory and garbage collection were measured with a million.", n))
	}
	c, err := e.newCollection(ctx, n)
	if err != nil {
		return err
	}
	defer c.drop()
	c.forget()
	times := startComparison{name: fmt.Sprintf("preload of %d keys", n)}
	all, err := times.measure(ctx, e, c, n, e.size(3, 1))
	if err != nil {
		return err
	}
	r.goal(all.goal("time, relative to the bare cursor", "<=", 1.3))
	r.table(times.table())
	r.note(secantusNote)
	return nil
}

// maxKeysOnSecantus is the largest number of keys with which keytail starts on
// secantusd-py.
const maxKeysOnSecantus = 300_000

// measureMemory scans a million keys into a cache as a preload does, without a server:
// first into an empty cache, then into a second generation that is swapped in.
func measureMemory(ctx context.Context, e *env, r *result) error {
	n := e.size(1_000_000, 2000)
	e.progress("%d keys in memory", n)
	before := heap()
	cache, err := newFreshCache(max(64, n*1000>>20))
	if err != nil {
		return err
	}
	perKey := func(bytes uint64) float64 { return float64(int64(bytes)-int64(before)) / float64(n) }
	if _, err := scanAll(cache, keycache.ScanIntoEmpty, n); err != nil {
		return err
	}
	r.goal(goal{Name: "bytes of heap per key, with all keys cached", Got: perKey(heap()), Sign: "<=", Want: 260, Rounds: 1})
	resting, err := gcShare(ctx, e.duration(20*time.Second))
	if err != nil {
		return err
	}
	r.goal(goal{Name: "CPU use of garbage collection at rest, in percent of one core", Got: max(resting*100, 0.001), Sign: "<=", Want: 2, Rounds: 1})
	aside, err := scanAll(cache, keycache.ScanAside, n)
	if err != nil {
		return err
	}
	r.note(fmt.Sprintf("While a scan fills a second generation, the heap has %.0f bytes per key; after the swap it has %.0f.", perKey(aside), perKey(heap())))
	runtime.KeepAlive(cache)
	return nil
}

// scanAll scans n keys and returns the size of the heap before the scan finishes.
func scanAll(cache *keycache.Cache, kind keycache.ScanKind, n int) (uint64, error) {
	scan, err := cache.BeginScan(kind, int64(n))
	if err != nil {
		return 0, err
	}
	defer scan.Abandon()
	scan.IndexIsUnique() // as in a service with the unique index
	for i := range n {
		record := sampleRecord(i)
		scan.Add(apikey.HashOf(record.KeyID), keycache.Found(apikey.DocID(record.KeyID), record))
	}
	held := heap()
	return held, scan.Finish()
}

func measureCold(ctx context.Context, e *env, r *result) error {
	n := e.size(100_000, 1000)
	c, err := e.newCollection(ctx, n)
	if err != nil {
		return err
	}
	defer c.drop()
	times := startComparison{name: "cold start", includesNew: true}
	all, err := times.measure(ctx, e, c, n, e.size(5, 1))
	if err != nil {
		return err
	}
	r.goal(all.goal("time, relative to the bare cursor", "<=", 1.5))
	r.table(times.table())
	r.note(secantusNote)
	return nil
}

// startComparison compares a starting service with a bare cursor.
type startComparison struct {
	name string
	// includesNew: New and its checks count too.
	includesNew  bool
	ours, theirs []float64 // seconds
	server       serverTimes
}

// serverTimes records how long the server took for each kind of command on the keys,
// over all rounds, in seconds.
type serverTimes struct {
	mutex sync.Mutex
	kinds map[int64]string // by request id
	took  map[string]float64
}

// startKinds are the kinds of commands, in the order of a start.
var startKinds = []string{"count", "samples for the mapping", "first batch of the scan", "other batches of the scan"}

func (a *serverTimes) monitor() *event.CommandMonitor {
	a.kinds, a.took = map[int64]string{}, map[string]float64{}
	return &event.CommandMonitor{
		Started: func(_ context.Context, began *event.CommandStartedEvent) {
			if kind := startKind(began); kind != "" {
				a.mutex.Lock()
				defer a.mutex.Unlock()
				a.kinds[began.RequestID] = kind
			}
		},
		Succeeded: func(_ context.Context, ended *event.CommandSucceededEvent) {
			a.mutex.Lock()
			defer a.mutex.Unlock()
			if kind, ok := a.kinds[ended.RequestID]; ok {
				a.took[kind] += ended.Duration.Seconds()
				delete(a.kinds, ended.RequestID)
			}
		},
	}
}

func startKind(began *event.CommandStartedEvent) string {
	switch began.CommandName {
	case "count":
		return startKinds[0]
	case "find":
		if _, limited := began.Command.Lookup("limit").AsInt64OK(); limited {
			return startKinds[1]
		}
		return startKinds[2]
	case "getMore":
		// The getMore of a change stream on a database has no collection name.
		if name, _ := began.Command.Lookup("collection").StringValueOK(); name == "api_keys" {
			return startKinds[3]
		}
	}
	return ""
}

// measure starts a service in each round.
func (s *startComparison) measure(ctx context.Context, e *env, c *collection, n, rounds int) (ratios, error) {
	monitor := s.server.monitor()
	client, err := e.connect(func(o *mongooptions.ClientOptions) { o.SetMonitor(monitor) })
	if err != nil {
		return nil, err
	}
	defer disconnect(client)
	return comparePair(ctx, rounds, func() (float64, error) {
		runtime.GC()
		began := time.Now()
		i, err := e.start(ctx, c, func(k *daemon.Config) { k.Client = client })
		if err != nil {
			return 0, err
		}
		defer i.stop()
		took := time.Since(began)
		if !s.includesNew {
			took = i.took
		}
		e.progress("%s: %v", s.name, took)
		s.ours = append(s.ours, took.Seconds())
		return took.Seconds(), nil
	}, func() (float64, error) {
		took, err := bareCursor(ctx, e, c, n)
		e.progress("bare cursor: %v", took)
		s.theirs = append(s.theirs, took.Seconds())
		return took.Seconds(), err
	})
}

func (s *startComparison) table() table {
	t := table{
		Title: "Seconds, medians. The last columns are the server's time for keytail's commands; of these, only the time of a cold start includes the samples for the mapping", Head: append([]string{"keytail, " + s.name, "bare cursor"}, startKinds...),
		Rows: [][]string{{fmt.Sprintf("%.2f", median(s.ours)), fmt.Sprintf("%.2f", median(s.theirs))}},
	}
	for _, kind := range startKinds {
		t.Rows[0] = append(t.Rows[0], fmt.Sprintf("%.2f", s.server.took[kind]/float64(len(s.ours))))
	}
	return t
}

// bareCursor reads the collection once, with a connected client.
func bareCursor(ctx context.Context, e *env, c *collection, n int) (time.Duration, error) {
	client, err := e.connect()
	if err != nil {
		return 0, err
	}
	defer disconnect(client)
	if err := client.Ping(ctx, nil); err != nil {
		return 0, err
	}
	runtime.GC()
	return readAll(ctx, client.Database(c.Database().Name()).Collection(c.Name()), n)
}

// readAll reads all documents once with a bare cursor, and looks at the hash of each. It returns the
// time.
func readAll(ctx context.Context, documents *mongo.Collection, n int) (time.Duration, error) {
	began := time.Now()
	cursor, err := documents.Find(ctx, bson.D{})
	if err != nil {
		return 0, err
	}
	read := 0
	for cursor.Next(ctx) {
		if _, ok := cursor.Current.Lookup("key_hash").StringValueOK(); !ok {
			return 0, errors.New("a document has no key_hash")
		}
		read++
	}
	took := time.Since(began)
	if err := cursor.Err(); err != nil {
		return 0, err
	}
	if read != n {
		return 0, fmt.Errorf("%d of %d documents read", read, n)
	}
	return took, nil
}

// heap returns the live heap after a garbage collection, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// forcedEvery is the interval of the garbage collections that the runtime forces
// (runtime.forcegcperiod).
const forcedEvery = 2 * time.Minute

// gcShare returns the share of one core that garbage collection uses while there are no
// requests: for the collections that ran during the given time, and for those that the
// runtime forces.
func gcShare(ctx context.Context, duration time.Duration) (float64, error) {
	spent := func() float64 {
		sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
		metrics.Read(sample)
		return sample[0].Value.Float64()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(duration):
	}
	runtime.ReadMemStats(&after)
	// The metric changes when a collection ends, so the difference between two ends is
	// one collection.
	runtime.GC()
	from := spent()
	runtime.GC()
	one := spent() - from
	return one*float64(after.NumGC-before.NumGC)/duration.Seconds() + one/forcedEvery.Seconds(), nil
}
