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

	"github.com/keytail/keytail"
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
	n := e.size(1_000_000, 2000)
	c, err := e.newCollection(ctx, n)
	if err != nil {
		return err
	}
	defer c.drop()
	c.forget()
	times := sidesOfStart{name: "preload"}
	var perKey, whileScanning []float64
	var resting float64
	all, err := times.measure(ctx, e, c, n, e.size(3, 1), func(_ *instance, before, during uint64) error {
		held := heap() - before
		perKey = append(perKey, float64(held)/float64(n))
		whileScanning = append(whileScanning, float64(during-before)/float64(n))
		if resting != 0 {
			return nil
		}
		var err error
		resting, err = gcShare(ctx, e.lasting(20*time.Second))
		return err
	})
	if err != nil {
		return err
	}
	r.goal(all.goal("time to that of the bare cursor", "<=", 1.3))
	r.goal(ratios(perKey).goal("bytes of heap a key, all held", "<=", 450))
	r.goal(goal{Name: "share of one second of CPU that garbage collection takes at rest, percent", Got: max(resting*100, 0.001), Sign: "<=", Want: 2, Rounds: 1})
	r.table(times.table())
	r.note(onThatServer)
	r.note(fmt.Sprintf("At the end of a preload, before garbage is collected, the heap had %.0f bytes a key; a later scan, which builds its own generation aside, takes as much again while it runs.", median(whileScanning)))
	return nil
}

func measureCold(ctx context.Context, e *env, r *result) error {
	n := e.size(100_000, 1000)
	c, err := e.newCollection(ctx, n)
	if err != nil {
		return err
	}
	defer c.drop()
	times := sidesOfStart{name: "cold start", withNew: true}
	all, err := times.measure(ctx, e, c, n, e.size(5, 1), func(*instance, uint64, uint64) error { return nil })
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

// measure starts a service in each round; live is called when it is, with the heap
// before and at that moment.
func (s *sidesOfStart) measure(ctx context.Context, e *env, c *collection, n, rounds int, live func(i *instance, before, during uint64) error) (ratios, error) {
	monitor := s.asked.monitor()
	client, err := e.connect(func(o *mongooptions.ClientOptions) { o.SetMonitor(monitor) })
	if err != nil {
		return nil, err
	}
	defer disconnect(client)
	return paired(ctx, rounds, func() (float64, error) {
		before := heap()
		began := time.Now()
		i, err := e.start(ctx, c, func(k *keytail.Config) { k.Client = client })
		if err != nil {
			return 0, err
		}
		defer i.stop()
		took := time.Since(began)
		if !s.withNew {
			took = i.took
		}
		var during runtime.MemStats
		runtime.ReadMemStats(&during)
		e.say("%s: %v", s.name, took)
		s.ours = append(s.ours, took.Seconds())
		return took.Seconds(), live(i, before, during.HeapAlloc)
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
