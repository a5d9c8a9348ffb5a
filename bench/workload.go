package main

import (
	"context"
	"errors"
	"fmt"
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
	name:    "workload",
	what:    "100,000 requests of 1,000 keys on 16 goroutines, through an embedded keytail, a daemon over HTTP, and the client package",
	against: "what teams have before: (a) a bare indexed find, (b) a find and an update of last_used, (c) the seed's cache of 120 s that every write clears, with one write a second, (d) a cache of 10 s in the process",
	reach:   ">= 20x (b), >= 3x (c), embedded >= 0.9x (d)",
	run:     measureWorkload,
	server:  true,
}

const workloadWorkers = 16

// way is one way to judge keys.
type way struct {
	judge func(ctx context.Context, key string) (bool, error)
	// operations counts the database's commands, finds those that read keys.
	operations, finds *atomic.Int64
	// close ends what was started for it.
	close func()
}

// workloadRounds is how often each way is begun anew. Once is enough for those that
// ask the database each time, which are far away from all others.
const workloadRounds = 5

// longestLoad cuts a load short that a slow server would make last for many minutes:
// a rate is known by then.
const longestLoad = time.Minute

// ways are all, by how they begin.
var ways = []struct {
	name  string
	begin func(context.Context, *env, *collection) (*way, error)
	once  bool
}{
	{nameFind, bareFind, true},
	{nameTouch, findAndTouch, true},
	{nameSeed, seedCache, false},
	{nameTTL, ttlCache, false},
	{nameEmbedded, embedded, false},
	{nameDaemon, byDaemon, false},
	{nameClient, remote, false},
}

// outcome is what a way measured, a figure a round.
type outcome struct {
	// first are requests a second from the beginning, warm those after that.
	first, warm []float64
	latency     *hdrhistogram.Histogram
	commands    []float64
	// requests are those of the last round's first figure.
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
		for _, way := range ways {
			if way.once && round > 0 {
				continue
			}
			if all[way.name] == nil {
				all[way.name] = &outcome{latency: newLatency()}
			}
			if err := all[way.name].round(ctx, e, c, way.name, way.begin); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
		}
	}
	workloadGoals(r, all)
	t := table{
		Title: fmt.Sprintf("%d requests, %d goroutines, from a start with nothing in a cache (keytail: from live); then warm, for a few seconds. Another client writes to one of the keys each second. Medians of %d rounds; the first two ways once, and for %v at most", e.size(100_000, 200), workloadWorkers, workloadRounds, longestLoad),
		Head:  []string{"", "requests", "a second", "p50", "p99", "database commands", "warm, a second"},
	}
	for _, way := range ways {
		o := all[way.name]
		t.Rows = append(t.Rows, []string{
			way.name, fmt.Sprint(o.requests), fmt.Sprintf("%.0f", median(o.first)), microseconds(o.latency, 50), microseconds(o.latency, 99),
			fmt.Sprintf("%.0f", median(o.commands)), fmt.Sprintf("%.0f", median(o.warm)),
		})
	}
	r.table(t)
	r.note("(c) and (d) are in the process of who asks, as embedded keytail is. A daemon is asked through the kernel, and here shares its cores with all who ask: it can be nearer to the database than to a map. Warm, a map's look-up gives a pointer, where keytail's gives a copy that has been held against the stream (see hit and profile), and notes the use of the key.")
	r.note("A cache begins with a find for each key, which is most of its time; warm, nothing is left of the database but the find after a write. keytail writes last_used and usage_count behind, as it does by default; the caches write neither.")
	return nil
}

func microseconds(h *hdrhistogram.Histogram, q float64) string {
	return time.Duration(h.ValueAtQuantile(q)).Round(100 * time.Nanosecond).String()
}

func (o *outcome) round(ctx context.Context, e *env, c *collection, name string, begin func(context.Context, *env, *collection) (*way, error)) error {
	w, err := begin(ctx, e, c)
	if err != nil {
		return err
	}
	defer w.close()
	before := w.operations.Load()
	first, err := w.measure(ctx, c.texts, e.size(100_000, 200), longestLoad)
	if err != nil {
		return err
	}
	o.requests = first.latency.TotalCount()
	o.commands = append(o.commands, float64(w.operations.Load()-before))
	warm, err := w.measure(ctx, c.texts, 0, e.lasting(3*time.Second))
	if err != nil {
		return err
	}
	o.first, o.warm = append(o.first, first.perSecond), append(o.warm, warm.perSecond)
	o.latency.Merge(first.latency)
	e.say("%s: %.0f a second, warm %.0f", name, first.perSecond, warm.perSecond)
	return nil
}

func workloadGoals(r *result, all map[string]*outcome) {
	first := func(name string) []float64 { return all[name].first }
	for _, ours := range []string{nameEmbedded, nameDaemon, nameClient} {
		r.goal(against(first(ours), first(nameTouch), ours+" to (b) find and update", 20))
		r.goal(against(first(ours), first(nameSeed), ours+" to (c) the seed's cache", 3))
	}
	r.goal(against(first(nameEmbedded), first(nameTTL), "embedded to (d) a cache of 10 s", 0.9))
	r.goal(against(all[nameEmbedded].warm, all[nameTTL].warm, "the same, both warm", 0.9))
}

// against are rates to those of the same round, or to the one that there is.
func against(ours, theirs []float64, name string, want float64) goal {
	for len(theirs) < len(ours) {
		theirs = append(theirs, theirs[0])
	}
	return ratiosOf(ours, theirs).goal(name, ">=", want)
}

// writeEachSecond changes a key's name once a second, as people do.
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
				_, _ = c.UpdateByID(ctx, typical(n%c.size).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: fmt.Sprint("renamed ", n)}}}})
			}
		}
	}()
	return func() { cancel(); <-done }
}

// measure asks n times, if it can in so long; without a bound if n is zero.
func (w *way) measure(ctx context.Context, keys []string, n int, lasting time.Duration) (*load, error) {
	all := &load{latency: newLatency()}
	var mutex sync.Mutex
	var failure error
	began := time.Now()
	var group sync.WaitGroup
	for worker := range workloadWorkers {
		group.Go(func() {
			latency, err := w.work(ctx, keys, worker, n/workloadWorkers, began.Add(lasting))
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

// work asks n times, or until then.
func (w *way) work(ctx context.Context, keys []string, worker, n int, until time.Time) (*hdrhistogram.Histogram, error) {
	latency := newLatency()
	first := worker * len(keys) / workloadWorkers
	for asked := 0; ; asked++ {
		began := time.Now()
		if n > 0 && asked >= n || began.After(until) {
			return latency, nil
		}
		valid, err := w.judge(ctx, keys[(first+asked)%len(keys)])
		if err != nil {
			return latency, err
		}
		if !valid {
			return latency, errors.New("a valid key is refused")
		}
		if err := latency.RecordValue(max(1, time.Since(began).Nanoseconds())); err != nil {
			return latency, err
		}
	}
}

const (
	nameFind     = "(a) find"
	nameTouch    = "(b) find, and an update of last_used"
	nameSeed     = "(c) cache of 120 s, cleared by every write"
	nameTTL      = "(d) cache of 10 s"
	nameEmbedded = "keytail, embedded"
	nameDaemon   = "keytail, daemon: forward-auth over HTTP"
	nameClient   = "keytail, client package"
)

// counted is a client that counts its commands.
func (e *env) counted(w *way) (*mongo.Client, error) {
	w.operations, w.finds = &atomic.Int64{}, &atomic.Int64{}
	return e.connect(func(o *mongooptions.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, began *event.CommandStartedEvent) {
			w.operations.Add(1)
			if began.CommandName == "find" {
				w.finds.Add(1)
			}
		}})
	})
}

// document is what the old ways read.
type document struct {
	ID     string   `bson:"_id"`
	User   string   `bson:"user_id"`
	Org    string   `bson:"org_id"`
	Scopes []string `bson:"scopes"`
	Active bool     `bson:"is_active"`
}

func (d *document) allows() bool {
	record := apikey.Record{KeyID: d.ID, UserID: d.User, OrgID: d.Org, Scopes: d.Scopes, Active: d.Active}
	return apikey.Decide(&record, request(), time.Now()) == apikey.Valid
}

// database is an old way's own client and collection.
func database(ctx context.Context, e *env, c *collection) (*way, func(hash apikey.Hash) (*document, error), *mongo.Collection, error) {
	w := &way{}
	client, err := e.counted(w)
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

func bareFind(ctx context.Context, e *env, c *collection) (*way, error) {
	w, find, _, err := database(ctx, e, c)
	if err != nil {
		return nil, err
	}
	w.judge = func(_ context.Context, key string) (bool, error) {
		d, err := find(apikey.HashOf(key))
		return err == nil && d.allows(), err
	}
	return w, nil
}

func findAndTouch(ctx context.Context, e *env, c *collection) (*way, error) {
	w, find, keys, err := database(ctx, e, c)
	if err != nil {
		return nil, err
	}
	w.judge = func(ctx context.Context, key string) (bool, error) {
		d, err := find(apikey.HashOf(key))
		if err != nil {
			return false, err
		}
		_, err = keys.UpdateByID(ctx, d.ID, bson.D{{Key: "$currentDate", Value: bson.D{{Key: "last_used", Value: true}}}, {Key: "$inc", Value: bson.D{{Key: "usage_count", Value: 1}}}})
		return err == nil && d.allows(), err
	}
	return w, nil
}

// cache is a map with a time to live, as services have it.
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

func cachedWay(ctx context.Context, e *env, c *collection, ttl time.Duration) (*way, *cache, error) {
	w, find, _, err := database(ctx, e, c)
	if err != nil {
		return nil, nil, err
	}
	held := &cache{entries: map[apikey.Hash]cached{}, ttl: ttl}
	w.judge = func(_ context.Context, key string) (bool, error) {
		hash := apikey.HashOf(key)
		d := held.get(hash)
		if d == nil {
			var err error
			if d, err = find(hash); err != nil {
				return false, err
			}
			held.put(hash, d)
		}
		return d.allows(), nil
	}
	return w, held, nil
}

// seedCache forgets everything whenever anything is written, which the seed's own
// API knows since all writes go through it.
func seedCache(ctx context.Context, e *env, c *collection) (*way, error) {
	w, held, err := cachedWay(ctx, e, c, 120*time.Second)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(time.Second)
	stopped := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				held.clear()
			case <-stopped:
				return
			}
		}
	}()
	end := w.close
	w.close = func() { ticker.Stop(); close(stopped); end() }
	return w, nil
}

func ttlCache(ctx context.Context, e *env, c *collection) (*way, error) {
	w, _, err := cachedWay(ctx, e, c, 10*time.Second)
	return w, err
}

// keytailWay starts a service whose commands are counted.
func keytailWay(ctx context.Context, e *env, c *collection) (*way, *instance, error) {
	w := &way{}
	client, err := e.counted(w)
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

func embedded(ctx context.Context, e *env, c *collection) (*way, error) {
	w, i, err := keytailWay(ctx, e, c)
	if err != nil {
		return nil, err
	}
	w.judge = judgeBy(i)
	return w, nil
}

func judgeBy(v auth.Validator) func(context.Context, string) (bool, error) {
	need := auth.Request{Scopes: []string{"orders:read"}, OrgID: "acme"}
	return func(ctx context.Context, key string) (bool, error) {
		verdict, err := v.Validate(ctx, key, need)
		return verdict.Valid(), err
	}
}

// served is keytailWay behind a listener.
func served(ctx context.Context, e *env, c *collection) (w *way, address string, err error) {
	w, i, err := keytailWay(ctx, e, c)
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

func byDaemon(ctx context.Context, e *env, c *collection) (*way, error) {
	w, address, err := served(ctx, e, c)
	if err != nil {
		return nil, err
	}
	asking := newAsker(workloadWorkers)
	w.judge = func(ctx context.Context, key string) (bool, error) { return asking.auth(ctx, address, key) }
	return w, nil
}

func remote(ctx context.Context, e *env, c *collection) (*way, error) {
	w, address, err := served(ctx, e, c)
	if err != nil {
		return nil, err
	}
	asking, err := client.New(client.Config{URL: "http://" + address})
	if err != nil {
		w.close()
		return nil, err
	}
	w.judge = judgeBy(asking)
	return w, nil
}
