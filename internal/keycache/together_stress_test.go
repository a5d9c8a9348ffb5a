package keycache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// together is a collection for a stress test of all parts of the cache at the same time: base and
// overlay, growing slots, front, refusals from events, a base that is filled on demand. Cluster time t
// is the log's first t changes.
type together struct {
	mutex sync.Mutex
	log   []Change
	keys  [4][]keyState
}

// keyState is what a key was from a position of the log on, which was acknowledged at that time.
type keyState struct {
	position int
	at       time.Time
	exists   bool
	user     int
	active   bool
}

func togetherID(key int) apikey.DocID  { return apikey.DocID(fmt.Sprint("doc-", key)) }
func togetherHash(key int) apikey.Hash { return apikey.HashOf(fmt.Sprint("key-", key)) }

func (s *keyState) finding(key int) Finding {
	if !s.exists {
		return Finding{}
	}
	return Found(togetherID(key), &apikey.Record{KeyID: fmt.Sprint(key), UserID: fmt.Sprint(s.user), Active: s.active})
}

// write changes a key: a replace or an insert, a delete, an update that switches it off or on.
func (d *together) write(random *rand.Rand) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	key := random.IntN(len(d.keys))
	s := keyState{}
	if n := len(d.keys[key]); n > 0 {
		s = d.keys[key][n-1]
	}
	event := Change{ID: togetherID(key), Time: clustertime.Time(len(d.log) + 1)}
	switch kind := random.IntN(8); {
	case !s.exists || kind == 0:
		s.exists, s.active, s.user = true, true, len(d.log)
		event.Hash, event.HasHash, event.Record = togetherHash(key), true, s.finding(key).Record
	case kind == 1:
		s.exists = false
	case s.active:
		s.active = false
		event.Refusal, event.Refresh = apikey.Refusal{Off: true}, true
	default:
		s.active = true
		event.Refresh = true
	}
	d.log = append(d.log, event)
	s.position, s.at = len(d.log), time.Now()
	d.keys[key] = append(d.keys[key], s)
}

// read returns a key in a random snapshot at or after the floor.
func (d *together) read(key int, floor clustertime.Time, random *rand.Rand) keyState {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	snapshot := int(floor) + random.IntN(len(d.log)-int(floor)+1)
	for _, s := range slices.Backward(d.keys[key]) {
		if s.position <= snapshot {
			return s
		}
	}
	return keyState{}
}

// was reports whether a key was so at or after a time.
func (d *together) was(key int, a *Answer) bool {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for _, s := range slices.Backward(d.keys[key]) {
		if s.exists == a.Found && (!a.Found || fmt.Sprint(s.user) == a.Record.UserID && s.active == a.Record.Active) {
			return true
		}
		if s.at.Before(a.AsOf) {
			return false
		}
	}
	return !a.Found
}

func (d *together) next(position int) (Change, int) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if position < len(d.log) {
		return d.log[position], len(d.log)
	}
	return Change{}, len(d.log)
}

// tail delivers the log, and loses its history now and then.
func (d *together) tail(cache *Cache, running func() bool) {
	random, position := rand.New(rand.NewPCG(3, 18)), 0
	cache.Open(0)
	for running() {
		started := time.Now()
		change, end := d.next(position)
		switch {
		case position == end:
			cache.Fresh(Freshness{AsOf: started})
			runtime.Gosched()
		case random.IntN(200) == 0:
			cache.Lose()
			_, position = d.next(0)
			cache.Open(clustertime.Time(position))
		default:
			position++
			cache.Apply(&change)
		}
	}
}

// scan makes a scan of any kind, which may be given up, and then may fill the cache on demand.
func (d *together) scan(cache *Cache, random *rand.Rand) bool {
	s, err := cache.BeginScan(ScanKind(random.IntN(3)), 1<<random.IntN(11))
	if err != nil {
		return false
	}
	complete := d.readAll(cache, s, random)
	s.Abandon()
	if random.IntN(4) == 0 {
		_ = cache.FillOnDemand()
	}
	return complete
}

func (d *together) readAll(cache *Cache, s *Scan, random *rand.Rand) bool {
	if random.IntN(2) == 0 {
		s.IndexIsUnique()
	}
	for key := range d.keys {
		if random.IntN(20) == 0 {
			return false
		}
		if state := d.read(key, s.Ticket().Floor(), random); state.exists {
			s.Add(togetherHash(key), state.finding(key))
		}
	}
	for read := time.Now(); !s.WillFail() && time.Since(read) < time.Second; runtime.Gosched() {
		if fresh := cache.Freshness(); fresh != nil && fresh.AsOf.After(read) {
			return s.Finish() == nil
		}
	}
	return false
}

// request answers a request as the validator does, and returns why the answer is wrong.
func (d *together) request(cache *Cache, random *rand.Rand) (hit bool, wrong string) {
	key := random.IntN(len(d.keys))
	a, ok := cache.Get(togetherHash(key))
	if !ok {
		t := cache.Begin()
		state := d.read(key, t.Floor(), random)
		cache.Store(t, togetherHash(key), state.finding(key))
		return false, ""
	}
	if !d.was(key, &a) {
		return true, fmt.Sprintf("key %d: found %v, %+v as of %v", key, a.Found, a.Record, a.AsOf)
	}
	return true, ""
}

// refresh reads one changed document by its id.
func (d *together) refresh(cache *Cache, random *rand.Rand) {
	select {
	case id := <-cache.Refreshes():
		for key := range d.keys {
			if togetherID(key) != id || random.IntN(2) == 0 {
				continue
			}
			t := cache.Begin()
			if state := d.read(key, t.Floor(), random); state.exists {
				cache.StoreByID(t, togetherHash(key), state.finding(key))
			}
		}
	default:
	}
}

// TestNeverAStaleAnswerFromAllPartsTogether runs the real cache with everything that it has. No answer
// is older than it reports.
func TestNeverAStaleAnswerFromAllPartsTogether(t *testing.T) {
	const wantHits, wantScans, wantRefused, wantWrites, readers = 20_000, 20, 20, 500, 3
	deadline := time.Now().Add(30 * time.Second)
	cache, err := New(Config{SizeMiB: minSizeToDivide, Slots: 1 << 3, Complete: true, FrontEntries: frontWays, RefreshQueue: 4})
	if err != nil {
		t.Fatal(err)
	}
	d := &together{}
	var hits, scans atomic.Int64
	enough := func() bool {
		return hits.Load() >= wantHits && scans.Load() >= wantScans && cache.refusals.answered.Load() >= wantRefused && cache.seq.Load() >= wantWrites
	}
	running := func() bool { return !enough() && !t.Failed() && time.Now().Before(deadline) }
	var group sync.WaitGroup
	start := func(seed uint64, step func(random *rand.Rand)) {
		random := rand.New(rand.NewPCG(seed, 18))
		group.Go(func() {
			for running() {
				step(random)
				runtime.Gosched()
			}
		})
	}
	group.Go(func() { d.tail(cache, running) })
	start(1, func(random *rand.Rand) {
		d.write(random)
		// The next write comes after some hits, so that there are both.
		for next := hits.Load() + random.Int64N(200); running() && hits.Load() < next; {
			runtime.Gosched()
		}
	})
	start(2, func(random *rand.Rand) {
		if d.scan(cache, random) {
			scans.Add(1)
		}
	})
	start(4, func(random *rand.Rand) { d.refresh(cache, random) })
	for reader := range uint64(readers) {
		start(5+reader, func(random *rand.Rand) {
			hit, wrong := d.request(cache, random)
			if wrong != "" {
				t.Error(wrong)
			}
			if hit {
				hits.Add(1)
			}
		})
	}
	group.Wait()
	if !enough() && !t.Failed() {
		t.Fatalf("only %d hits, %d complete scans and %d refusals in the given time: the test shows little", hits.Load(), scans.Load(), cache.refusals.answered.Load())
	}
	t.Logf("%d hits, %d complete scans, %d refusals, %d writes", hits.Load(), scans.Load(), cache.refusals.answered.Load(), len(d.log))
}
