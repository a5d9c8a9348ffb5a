package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/client"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/service"
)

var workloadRow = row{
	name:         "workload",
	title:        "keytail instead of database reads and simple caches",
	measures:     "100,000 requests with 1,000 keys on 16 goroutines: to keytail embedded in the process, to a daemon over HTTP, and to a daemon with the client package",
	comparedWith: "common code without keytail: (a) an indexed find for each request, (b) a find and an update of last_used for each request, (c) a cache of 120 s in the process that every write clears, with one write per second, (d) a cache of 10 s in the process",
	goals:        "at least 20 times the requests per second of (b) and 3 times those of (c); embedded keytail also at least 0.9 times those of (d)",
	run:          measureWorkload,
	server:       true,
}

const workloadWorkers = 16

// approach is one approach to validating keys.
type approach struct {
	validate func(ctx context.Context, key string) (bool, error)
	// operations counts the commands to the database, finds counts those that read keys.
	operations, finds *atomic.Int64
	// close stops everything that the approach started.
	close func()
}

// workloadRounds is the number of rounds. Each round starts every approach again. One
// round is enough for the approaches that query the database for each request: they are
// far slower than all others.
const workloadRounds = 5

// longestLoad limits the duration of a load on a slow server. It is long enough to know
// the rate.
const longestLoad = time.Minute

// approaches are all approaches, with the functions that start them.
var approaches = []struct {
	name  string
	begin func(context.Context, *env, *collection) (*approach, error)
	once  bool
}{
	{nameFind, bareFind, true},
	{nameFindUpdate, findAndUpdate, true},
	{nameClearedCache, clearedCache, false},
	{nameTTL, ttlCache, false},
	{nameEmbedded, embedded, false},
	{nameDaemon, viaDaemon, false},
	{nameClient, viaClient, false},
}

// outcome has the figures of one approach, one for each round.
type outcome struct {
	// first are the requests per second from a cold start, warm those after it.
	first, warm []float64
	latency     *hdrhistogram.Histogram
	commands    []float64
	// requests is the number of requests from a cold start in the last round.
	requests int64
}

func measureWorkload(ctx context.Context, e *env, r *result) error {
	c, err := e.newCollection(ctx, e.size(1000, 50))
	if err != nil {
		return err
	}
	defer c.drop()
	stopWriting := c.writeEachSecond(ctx)
	defer stopWriting()
	all := map[string]*outcome{}
	for round := range e.size(workloadRounds, 1) {
		for _, approach := range approaches {
			if approach.once && round > 0 {
				continue
			}
			if all[approach.name] == nil {
				all[approach.name] = &outcome{latency: newLatency()}
			}
			if err := all[approach.name].round(ctx, e, c, approach.name, approach.begin); err != nil {
				return fmt.Errorf("%s: %w", approach.name, err)
			}
		}
	}
	workloadGoals(r, all)
	t := table{
		Title: fmt.Sprintf("%d requests on %d goroutines, starting with an empty cache (keytail: when it is live); then warm, for a few seconds. Another client updates one of the keys each second. Medians of %d rounds; (a) and (b) ran once, for at most %v", e.size(100_000, 200), workloadWorkers, workloadRounds, longestLoad),
		Head:  []string{"", "requests", "requests per second", "p50", "p99", "database commands", "requests per second, warm"},
	}
	for _, approach := range approaches {
		o := all[approach.name]
		t.Rows = append(t.Rows, []string{
			approach.name, fmt.Sprint(o.requests), fmt.Sprintf("%.0f", median(o.first)), microseconds(o.latency, 50), microseconds(o.latency, 99),
			fmt.Sprintf("%.0f", median(o.commands)), fmt.Sprintf("%.0f", median(o.warm)),
		})
	}
	r.table(t)
	r.note("(c) and (d) run in the process of the caller, as embedded keytail does. A request to the daemon passes the kernel twice, and here the daemon shares its cores with the callers, so it cannot be as fast as a map in the process. When warm, a lookup in a map returns a pointer. keytail also checks the text of the key and that the entry is still valid (see hit and profile), and records the use of the key.")
	r.note("A cold cache reads each key once, which takes most of its time. A warm cache reads a key only after a write. keytail writes last_used and usage_count in batches, as it does by default. The caches write neither.")
	return nil
}

func microseconds(h *hdrhistogram.Histogram, q float64) string {
	return time.Duration(h.ValueAtQuantile(q)).Round(100 * time.Nanosecond).String()
}

func (o *outcome) round(ctx context.Context, e *env, c *collection, name string, begin func(context.Context, *env, *collection) (*approach, error)) error {
	w, err := begin(ctx, e, c)
	if err != nil {
		return err
	}
	defer w.close()
	before := w.operations.Load()
	first, err := w.measure(ctx, c.keys, e.size(100_000, 200), longestLoad)
	if err != nil {
		return err
	}
	o.requests = first.latency.TotalCount()
	o.commands = append(o.commands, float64(w.operations.Load()-before))
	warm, err := w.measure(ctx, c.keys, 0, e.duration(3*time.Second))
	if err != nil {
		return err
	}
	o.first, o.warm = append(o.first, first.perSecond), append(o.warm, warm.perSecond)
	o.latency.Merge(first.latency)
	e.progress("%s: %.0f requests per second, warm %.0f", name, first.perSecond, warm.perSecond)
	return nil
}

func workloadGoals(r *result, all map[string]*outcome) {
	first := func(name string) []float64 { return all[name].first }
	for _, ours := range []string{nameEmbedded, nameDaemon, nameClient} {
		r.goal(atLeast(first(ours), first(nameFindUpdate), ours+relativeToFindUpdate, 20))
		r.goal(atLeast(first(ours), first(nameClearedCache), ours+relativeToClearedCache, 3))
	}
	r.goal(atLeast(first(nameEmbedded), first(nameTTL), nameEmbedded+": requests per second, relative to (d) cache of 10 s", 0.9))
	r.goal(atLeast(all[nameEmbedded].warm, all[nameTTL].warm, nameEmbedded+": requests per second when warm, relative to (d) cache of 10 s", 0.9))
}

// atLeast returns a goal for the ratios of our rates to theirs in the same round. If an
// approach ran in one round only, its rate is used for all rounds.
func atLeast(ours, theirs []float64, name string, want float64) goal {
	for len(theirs) < len(ours) {
		theirs = append(theirs, theirs[0])
	}
	return ratiosOf(ours, theirs).goal(name, ">=", want)
}

// writeEachSecond updates the name of one key per second, as users do.
func (c *collection) writeEachSecond(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_, _ = c.UpdateByID(ctx, sampleRecord(n%c.size).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: fmt.Sprint("renamed ", n)}}}})
			}
		}
	}()
	return func() { cancel(); <-done }
}

// measure sends n requests, or as many as it can within the duration. Zero: only the
// duration is a limit.
func (w *approach) measure(ctx context.Context, keys []string, n int, duration time.Duration) (*load, error) {
	all := &load{latency: newLatency()}
	var mutex sync.Mutex
	var failure error
	began := time.Now()
	var group sync.WaitGroup
	for worker := range workloadWorkers {
		group.Go(func() {
			latency, err := w.work(ctx, keys, worker, n/workloadWorkers, began.Add(duration))
			mutex.Lock()
			defer mutex.Unlock()
			failure = errors.Join(failure, err)
			all.latency.Merge(latency)
		})
	}
	group.Wait()
	all.perSecond = float64(all.latency.TotalCount()) / time.Since(began).Seconds()
	return all, failure
}

// work sends n requests, or as many as it can until then, and at least one.
func (w *approach) work(ctx context.Context, keys []string, worker, n int, until time.Time) (*hdrhistogram.Histogram, error) {
	latency := newLatency()
	first := worker * len(keys) / workloadWorkers
	for sent := 0; ; sent++ {
		began := time.Now()
		if n > 0 && sent >= n || sent > 0 && began.After(until) {
			return latency, nil
		}
		valid, err := w.validate(ctx, keys[(first+sent)%len(keys)])
		if err != nil {
			return latency, err
		}
		if !valid {
			return latency, errors.New("a valid key was refused")
		}
		if err := latency.RecordValue(max(1, time.Since(began).Nanoseconds())); err != nil {
			return latency, err
		}
	}
}

// The ends of names of goals.
const (
	relativeToFindUpdate   = ": requests per second, relative to (b) find and update"
	relativeToClearedCache = ": requests per second, relative to (c) cache cleared by every write"
)

const (
	nameFind         = "(a) find"
	nameFindUpdate   = "(b) find and update of last_used"
	nameClearedCache = "(c) cache of 120 s, cleared by every write"
	nameTTL          = "(d) cache of 10 s"
	nameEmbedded     = "embedded keytail"
	nameDaemon       = "keytail daemon, forward-auth over HTTP"
	nameClient       = "keytail daemon, client package"
)

// countingClient creates a client that counts its commands.
func (e *env) countingClient(w *approach) (*mongo.Client, error) {
	w.operations, w.finds = &atomic.Int64{}, &atomic.Int64{}
	return e.connect(func(o *mongooptions.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, began *event.CommandStartedEvent) {
			w.operations.Add(1)
			if isReadOfKeys(began) {
				w.finds.Add(1)
			}
		}})
	})
}

// isReadOfKeys: an instance also reads the list of its fleet now and then.
func isReadOfKeys(began *event.CommandStartedEvent) bool {
	collection, ok := began.Command.Lookup("find").StringValueOK()
	return ok && !strings.HasPrefix(collection, "keytail_")
}

// document is a key document as (a) to (d) read it.
type document struct {
	ID     string   `bson:"_id"`
	User   string   `bson:"user_id"`
	Org    string   `bson:"org_id"`
	Scopes []string `bson:"scopes"`
	Active bool     `bson:"is_active"`
}

func (d *document) allows() bool {
	record := apikey.Record{KeyID: d.ID, UserID: d.User, OrgID: d.Org, Scopes: d.Scopes, Active: d.Active}
	return apikey.Decide(&record, sampleRequest(), time.Now()) == apikey.Valid
}

// database returns an approach with its own client, a function that finds a document by
// its hash, and the collection.
func database(ctx context.Context, e *env, c *collection) (*approach, func(hash apikey.Hash) (*document, error), *mongo.Collection, error) {
	w := &approach{}
	client, err := e.countingClient(w)
	if err != nil {
		return nil, nil, nil, err
	}
	w.close = func() { disconnect(client) }
	keys := client.Database(c.Database().Name()).Collection(c.Name())
	return w, func(hash apikey.Hash) (*document, error) {
		var d document
		err := keys.FindOne(ctx, bson.D{{Key: "key_hash", Value: hash.Hex()}}).Decode(&d)
		return &d, err
	}, keys, nil
}

func bareFind(ctx context.Context, e *env, c *collection) (*approach, error) {
	w, find, _, err := database(ctx, e, c)
	if err != nil {
		return nil, err
	}
	w.validate = func(_ context.Context, key string) (bool, error) {
		d, err := find(apikey.HashOf(key))
		return err == nil && d.allows(), err
	}
	return w, nil
}

func findAndUpdate(ctx context.Context, e *env, c *collection) (*approach, error) {
	w, find, keys, err := database(ctx, e, c)
	if err != nil {
		return nil, err
	}
	w.validate = func(ctx context.Context, key string) (bool, error) {
		d, err := find(apikey.HashOf(key))
		if err != nil {
			return false, err
		}
		_, err = keys.UpdateByID(ctx, d.ID, bson.D{{Key: "$currentDate", Value: bson.D{{Key: "last_used", Value: true}}}, {Key: "$inc", Value: bson.D{{Key: "usage_count", Value: 1}}}})
		return err == nil && d.allows(), err
	}
	return w, nil
}

// cache is a map with a time to live, as many services have it.
type cache struct {
	mutex   sync.RWMutex
	entries map[apikey.Hash]cached
	ttl     time.Duration
}

type cached struct {
	document *document
	until    time.Time
}

func (c *cache) get(hash apikey.Hash) *document {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	entry, found := c.entries[hash]
	if !found || time.Now().After(entry.until) {
		return nil
	}
	return entry.document
}

func (c *cache) put(hash apikey.Hash, d *document) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.entries[hash] = cached{d, time.Now().Add(c.ttl)}
}

func (c *cache) clear() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	clear(c.entries)
}

func cachedApproach(ctx context.Context, e *env, c *collection, ttl time.Duration) (*approach, *cache, error) {
	w, find, _, err := database(ctx, e, c)
	if err != nil {
		return nil, nil, err
	}
	entries := &cache{entries: map[apikey.Hash]cached{}, ttl: ttl}
	w.validate = func(_ context.Context, key string) (bool, error) {
		hash := apikey.HashOf(key)
		d := entries.get(hash)
		if d == nil {
			var err error
			if d, err = find(hash); err != nil {
				return false, err
			}
			entries.put(hash, d)
		}
		return d.allows(), nil
	}
	return w, entries, nil
}

// clearedCache clears the whole cache after every write. A service can do so if all
// writes go through it.
func clearedCache(ctx context.Context, e *env, c *collection) (*approach, error) {
	w, entries, err := cachedApproach(ctx, e, c, 120*time.Second)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(time.Second)
	stopped := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				entries.clear()
			case <-stopped:
				return
			}
		}
	}()
	end := w.close
	w.close = func() { ticker.Stop(); close(stopped); end() }
	return w, nil
}

func ttlCache(ctx context.Context, e *env, c *collection) (*approach, error) {
	w, _, err := cachedApproach(ctx, e, c, 10*time.Second)
	return w, err
}

// startCounted starts a service with a client that counts its commands.
func startCounted(ctx context.Context, e *env, c *collection) (*approach, *instance, error) {
	w := &approach{}
	client, err := e.countingClient(w)
	if err != nil {
		return nil, nil, err
	}
	i, err := e.start(ctx, c, func(k *daemon.Config) { k.Client, k.Usage = client, service.UsageWrite })
	if err != nil {
		disconnect(client)
		return nil, nil, err
	}
	w.close = func() { i.stop(); disconnect(client) }
	return w, i, nil
}

func embedded(ctx context.Context, e *env, c *collection) (*approach, error) {
	w, i, err := startCounted(ctx, e, c)
	if err != nil {
		return nil, err
	}
	w.validate = validateWith(i)
	return w, nil
}

func validateWith(v auth.Validator) func(context.Context, string) (bool, error) {
	request := auth.Request{Scopes: []string{"orders:read"}, OrgID: "acme"}
	return func(ctx context.Context, key string) (bool, error) {
		verdict, err := v.Validate(ctx, key, request)
		return verdict.Valid(), err
	}
}

// startServed is startCounted with an HTTP listener.
func startServed(ctx context.Context, e *env, c *collection) (w *approach, address string, err error) {
	w, i, err := startCounted(ctx, e, c)
	if err != nil {
		return nil, "", err
	}
	address, stop, err := listen(ctx, i.Public())
	if err != nil {
		w.close()
		return nil, "", err
	}
	end := w.close
	w.close = func() { stop(); end() }
	return w, address, nil
}

func viaDaemon(ctx context.Context, e *env, c *collection) (*approach, error) {
	w, address, err := startServed(ctx, e, c)
	if err != nil {
		return nil, err
	}
	forwardAuth := newAuthClient(workloadWorkers)
	w.validate = func(ctx context.Context, key string) (bool, error) { return forwardAuth.allows(ctx, address, key) }
	return w, nil
}

func viaClient(ctx context.Context, e *env, c *collection) (*approach, error) {
	w, address, err := startServed(ctx, e, c)
	if err != nil {
		return nil, err
	}
	keytailClient, err := client.New(client.Config{URL: "http://" + address})
	if err != nil {
		w.close()
		return nil, err
	}
	w.validate = validateWith(keytailClient)
	return w, nil
}
