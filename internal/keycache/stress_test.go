package keycache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// fakeDatabase is a log of versions: version n of a key is the n-th write to it.
// A read returns some snapshot that is not older than requested, as a majority read
// does. The tail delivers the log in order, with a delay.
type fakeDatabase struct {
	mutex sync.Mutex
	log   []fakeWrite
	// acked[key][n] is when version n was acknowledged.
	acked map[string][]time.Time
}

type fakeWrite struct {
	key     string
	version int
}

func (d *fakeDatabase) write(key string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.log = append(d.log, fakeWrite{key, len(d.acked[key])})
	d.acked[key] = append(d.acked[key], time.Now())
}

// read returns the key's version in a random snapshot at or after the floor.
// Cluster time t is the log's first t writes.
func (d *fakeDatabase) read(key string, floor clustertime.Time, random *rand.Rand) int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	snapshot := int(floor) + random.IntN(len(d.log)-int(floor)+1)
	version := 0
	for _, w := range d.log[:snapshot] {
		if w.key == key {
			version = w.version
		}
	}
	return version
}

func (d *fakeDatabase) next(position int) (fakeWrite, bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if position >= len(d.log) {
		return fakeWrite{}, false
	}
	return d.log[position], true
}

// current is the last version that was acknowledged before t.
func (d *fakeDatabase) current(key string, t time.Time) int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	version := 0
	for n, at := range d.acked[key] {
		if at.Before(t) {
			version = n
		}
	}
	return version
}

// TestNeverAStaleSet runs the real cache, with its real loads and stores,
// against a writer, a delayed tail with losses, fills that end late, and scans of all kinds while the
// slot tables grow. It ends
// when enough hits have been checked.
func TestNeverAStaleSet(t *testing.T) {
	const keys, wantHits, wantScans, readers = 4, 20_000, 5, 4
	deadline := time.Now().Add(30 * time.Second)
	db := &fakeDatabase{acked: map[string][]time.Time{}}
	cache, err := New(Config{SizeMiB: 3, Slots: 1 << 6, Complete: true})
	if err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprint("key", i) }
	for i := range keys {
		db.write(name(i))
	}

	var hits atomic.Int64
	var scans [3]atomic.Int64
	enough := func() bool {
		return hits.Load() >= wantHits && min(scans[0].Load(), scans[1].Load(), scans[2].Load()) >= wantScans
	}
	running := func() bool { return !enough() && time.Now().Before(deadline) }
	var group sync.WaitGroup
	group.Go(func() {
		random := rand.New(rand.NewPCG(1, 1))
		for running() {
			db.write(name(random.IntN(keys)))
			// The next write comes after some hits, so that there are both.
			for next := hits.Load() + random.Int64N(100); running() && hits.Load() < next; {
				runtime.Gosched()
			}
		}
	})
	group.Go(func() { tailFake(db, cache, running) })
	group.Go(func() {
		random := rand.New(rand.NewPCG(4, 4))
		for slots := int64(keys); running(); slots = min(2*slots, 1<<12) {
			kind := ScanKind(random.IntN(len(scans)))
			if scanOnce(db, cache, kind, slots, keys, random) {
				scans[kind].Add(1)
			}
		}
	})
	for reader := range readers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(reader)))
			for running() {
				hits.Add(int64(readOnce(t, db, cache, name(random.IntN(keys)), random)))
			}
		})
	}
	group.Wait()
	if !enough() {
		t.Fatalf("only %d hits and %d, %d, %d complete scans in the given time: the test shows little", hits.Load(), scans[0].Load(), scans[1].Load(), scans[2].Load())
	}
}

// scanOnce scans as preload does, with slot tables for so many keys, and reports whether the cache
// became complete.
func scanOnce(db *fakeDatabase, cache *Cache, kind ScanKind, slots int64, keys int, random *rand.Rand) bool {
	s, err := cache.BeginScan(kind, slots)
	if err != nil {
		return false
	}
	defer s.Abandon()
	for i := range keys {
		key := fmt.Sprint("key", i)
		version := db.read(key, s.Ticket().Floor(), random)
		s.Add(apikey.HashOf(key), Found(apikey.DocID(key), &apikey.Record{KeyID: key, UserID: fmt.Sprint(version)}))
	}
	for read := time.Now(); !s.WillFail() && time.Since(read) < time.Second; runtime.Gosched() {
		if fresh := cache.Freshness(); fresh != nil && fresh.AsOf.After(read) {
			return s.Finish() == nil
		}
	}
	return false
}

func tailFake(db *fakeDatabase, cache *Cache, running func() bool) {
	random := rand.New(rand.NewPCG(3, 3))
	position := 0
	cache.Open(0)
	for running() {
		started := time.Now()
		w, ok := db.next(position)
		if !ok {
			cache.Fresh(Freshness{AsOf: started})
			continue
		}
		if random.IntN(50) == 0 {
			// Lost: the new stream begins at the log's end.
			cache.Lose()
			db.mutex.Lock()
			position = len(db.log)
			db.mutex.Unlock()
			cache.Open(clustertime.Time(position))
			continue
		}
		position++
		h := apikey.HashOf(w.key)
		cache.Apply(&Change{
			ID: apikey.DocID(w.key), Time: clustertime.Time(position),
			Hash: h, HasHash: true, Record: &apikey.Record{KeyID: w.key, UserID: fmt.Sprint(w.version)},
		})
	}
}

// readOnce looks a key up as the validator does, fills on a miss, and checks that a
// hit is not older than it reports. It returns the number of hits.
func readOnce(t *testing.T, db *fakeDatabase, cache *Cache, key string, random *rand.Rand) int {
	h := apikey.HashOf(key)
	a, ok := cache.Get(h)
	if !ok {
		ticket := cache.Begin()
		version := db.read(key, ticket.Floor(), random)
		cache.Store(ticket, h, Finding{
			Found: true, ID: apikey.DocID(key),
			Record: &apikey.Record{KeyID: key, UserID: fmt.Sprint(version)},
		})
		return 0
	}
	if !a.Found {
		t.Errorf("%s is absent, although it was never deleted", key)
		return 1
	}
	var got int
	if _, err := fmt.Sscan(a.Record.UserID, &got); err != nil {
		t.Error(err)
	}
	if want := db.current(key, a.AsOf); got < want {
		t.Errorf("%s: version %d, reported as of a time at which version %d was acknowledged", key, got, want)
	}
	return 1
}
