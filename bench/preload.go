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
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/keycache"
)

var preloadRow = row{
	name:    "preload",
	what:    "preload of 1,000,000 keys: from Run to live, with every key held",
	against: "a bare cursor that decodes raw documents",
	reach:   "<= 1.3x time; memory <= 450 bytes a key; garbage collection < 2 % of CPU at rest",
	run:     measurePreload,
	server:  true,
}

var coldRow = row{
	name:    "cold",
	what:    "cold start with 100,000 keys: from New, with all checks, to live",
	against: "a bare cursor that decodes raw documents",
	reach:   "<= 1.5x time",
	run:     measureCold,
	server:  true,
}

// onThatServer says what to look for in the times of a start.
const onThatServer = "keytail looks at the 50 first and the 50 last documents by _id when it starts (for 5 s at most), and counts all by the metadata of the collection before it scans. MongoDB has both at once; secantusd-py reads the whole collection for each, which the columns show: what is left without them is to be compared with the bare cursor."

func measurePreload(ctx context.Context, e *env, r *result) error {
	if err := measureMemory(ctx, e, r); err != nil {
		return err
	}
	n := e.size(1_000_000, 2000)
	if e.URI == "" && n > mostOnSecantus {
		n = mostOnSecantus
		r.note(fmt.Sprintf("The time is that of %d keys: of a million, secantusd-py does not show the first few within the 15s in which a start must be done. Memory and garbage collection are those of a million.", n))
	}
	c, err := e.newCollection(ctx, n)
	if err != nil {
		return err
	}
	defer c.drop()
	c.forget()
	times := sidesOfStart{name: fmt.Sprintf("preload of %d keys", n)}
	all, err := times.measure(ctx, e, c, n, e.size(3, 1))
	if err != nil {
		return err
	}
	r.goal(all.goal("time to that of the bare cursor", "<=", 1.3))
	r.table(times.table())
	r.note(onThatServer)
	return nil
}

// mostOnSecantus is how many keys a start works with there.
const mostOnSecantus = 300_000

// measureMemory scans a million keys into a cache as a preload does, without a server:
// first anew, then aside as for a swap.
func measureMemory(ctx context.Context, e *env, r *result) error {
	n := e.size(1_000_000, 2000)
	e.say("%d keys in memory", n)
	before := heap()
	cache, err := liveCache(max(64, n*1000>>20))
	if err != nil {
		return err
	}
	perKey := func(bytes uint64) float64 { return float64(int64(bytes)-int64(before)) / float64(n) }
	if _, err := scanAll(cache, keycache.ScanAnew, n); err != nil {
		return err
	}
	r.goal(goal{Name: "bytes of heap a key, all held", Got: perKey(heap()), Sign: "<=", Want: 450, Rounds: 1})
	resting, err := gcShare(ctx, e.lasting(20*time.Second))
	if err != nil {
		return err
	}
	r.goal(goal{Name: "share of one second of CPU that garbage collection takes at rest, percent", Got: max(resting*100, 0.001), Sign: "<=", Want: 2, Rounds: 1})
	aside, err := scanAll(cache, keycache.ScanAside, n)
	if err != nil {
		return err
	}
	r.note(fmt.Sprintf("While a scan builds its own generation aside, to be swapped in, the heap has %.0f bytes a key, and after the swap %.0f.", perKey(aside), perKey(heap())))
	runtime.KeepAlive(cache)
	return nil
}

// scanAll is a scan of n keys; it returns the heap at its end.
func scanAll(cache *keycache.Cache, kind keycache.ScanKind, n int) (uint64, error) {
	scan, err := cache.BeginScan(kind)
	if err != nil {
		return 0, err
	}
	defer scan.Abandon()
	scan.IndexIsUnique() // as in a service, whose index is there
	for i := range n {
		record := typical(i)
		scan.See(apikey.HashOf(record.KeyID), keycache.Found(apikey.DocID(record.KeyID), record))
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
	times := sidesOfStart{name: "cold start", withNew: true}
	all, err := times.measure(ctx, e, c, n, e.size(5, 1))
	if err != nil {
		return err
	}
	r.goal(all.goal("time to that of the bare cursor", "<=", 1.5))
	r.table(times.table())
	r.note(onThatServer)
	return nil
}

// sidesOfStart are a service that starts and a bare cursor.
type sidesOfStart struct {
	name string
	// withNew: New and its checks count too.
	withNew      bool
	ours, theirs []float64 // seconds
	asked        askedOfServer
}

// askedOfServer is how long the server took for each kind of command about the keys,
// over all rounds, in seconds.
type askedOfServer struct {
	mutex sync.Mutex
	kinds map[int64]string // by request
	took  map[string]float64
}

// The kinds, in the order in which a start has them.
var startKinds = []string{"count", "samples for the mapping", "the scan's first batch", "the scan's other batches"}

func (a *askedOfServer) monitor() *event.CommandMonitor {
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
		// A change stream of the database has no collection.
		if name, _ := began.Command.Lookup("collection").StringValueOK(); name == "api_keys" {
			return startKinds[3]
		}
	}
	return ""
}

// measure starts a service in each round.
func (s *sidesOfStart) measure(ctx context.Context, e *env, c *collection, n, rounds int) (ratios, error) {
	monitor := s.asked.monitor()
	client, err := e.connect(func(o *mongooptions.ClientOptions) { o.SetMonitor(monitor) })
	if err != nil {
		return nil, err
	}
	defer disconnect(client)
	return paired(ctx, rounds, func() (float64, error) {
		runtime.GC()
		began := time.Now()
		i, err := e.start(ctx, c, func(k *daemon.Config) { k.Client = client })
		if err != nil {
			return 0, err
		}
		defer i.stop()
		took := time.Since(began)
		if !s.withNew {
			took = i.took
		}
		e.say("%s: %v", s.name, took)
		s.ours = append(s.ours, took.Seconds())
		return took.Seconds(), nil
	}, func() (float64, error) {
		took, err := bareCursor(ctx, e, c, n)
		e.say("bare cursor: %v", took)
		s.theirs = append(s.theirs, took.Seconds())
		return took.Seconds(), err
	})
}

func (s *sidesOfStart) table() table {
	t := table{
		Title: "Seconds: medians, and what of keytail's the server took for its commands (the samples are in the time of a cold start alone)", Head: append([]string{"keytail, " + s.name, "bare cursor"}, startKinds...),
		Rows: [][]string{{fmt.Sprintf("%.2f", median(s.ours)), fmt.Sprintf("%.2f", median(s.theirs))}},
	}
	for _, kind := range startKinds {
		t.Rows[0] = append(t.Rows[0], fmt.Sprintf("%.2f", s.asked.took[kind]/float64(len(s.ours))))
	}
	return t
}

// bareCursor reads the collection once, with a client that is connected already.
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
	began := time.Now()
	cursor, err := client.Database(c.Database().Name()).Collection(c.Name()).Find(ctx, bson.D{})
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

// heap is what is live after a collection, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// forcedEvery is how often the runtime collects garbage when nothing else makes it
// (runtime.forcegcperiod).
const forcedEvery = 2 * time.Minute

// gcShare is the share of one core that garbage collection takes while nothing is
// asked: of the collections that came by themselves meanwhile, and of those that the
// runtime makes in any case.
func gcShare(ctx context.Context, lasting time.Duration) (float64, error) {
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
	case <-time.After(lasting):
	}
	runtime.ReadMemStats(&after)
	// The figure moves when a collection ends: between two ends lies one collection.
	runtime.GC()
	from := spent()
	runtime.GC()
	one := spent() - from
	return one*float64(after.NumGC-before.NumGC)/lasting.Seconds() + one/forcedEvery.Seconds(), nil
}
