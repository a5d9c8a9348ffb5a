package resume

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// point is a place in a recorded run: that of an event.
type point struct {
	event int // its number, from 0
	at    clustertime.Time
	token bson.Raw
}

// recording is a run that has ended.
type recording struct {
	server *mongotest.Server
	writer *writer
	points []point
	// first and last are the cluster times of the run's first and last event. past: reads of the
	// documents at a time between them are possible.
	first, last clustertime.Time
	past        bool
	// states are those of the keys in the end.
	states []state
}

// record makes writes and notes their events.
func record(t *testing.T, s *mongotest.Server, w *writer, count int) *recording {
	t.Helper()
	r := &recording{server: s, writer: w}
	changes, err := w.keys.Database().Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetMaxAwaitTime(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = changes.Close(context.Background()) }()
	for range count {
		if name, err := w.next(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if r.states, err = w.states(t.Context()); err != nil {
		t.Fatal(err)
	}
	end := bson.D{{Key: "_id", Value: "the end"}}
	if _, err := w.keys.Database().Collection("other").InsertOne(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	for changes.Next(t.Context()) {
		seconds, increment := changes.Current.Lookup("clusterTime").Timestamp()
		r.points = append(r.points, point{len(r.points), clustertime.New(seconds, increment), changes.ResumeToken()})
		if id, _ := changes.Current.Lookup("documentKey", "_id").StringValueOK(); id == "the end" {
			break
		}
	}
	if err := changes.Err(); err != nil {
		t.Fatal(err)
	}
	r.first, r.last = r.points[0].at, r.points[len(r.points)-1].at
	r.past = r.canReadThePast(t)
	return r
}

// canReadThePast asks for the documents before the first event: a server that offers no snapshot
// reads refuses, or shows those of today.
func (r *recording) canReadThePast(t *testing.T) bool {
	t.Helper()
	var reply bson.Raw
	err := r.writer.keys.Database().RunCommand(t.Context(), bson.D{
		{Key: "find", Value: keysCollection}, {Key: "readConcern", Value: snapshotAt(r.first.Before())},
	}).Decode(&reply)
	if err != nil {
		t.Logf("%s has no reads of the past: %v", r.server.Name, err)
		return false
	}
	found, err := reply.Lookup("cursor", "firstBatch").Array().Values()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Logf("%s has no reads of the past: it ignores atClusterTime", r.server.Name)
	}
	return len(found) == 0
}

func snapshotAt(at clustertime.Time) bson.D {
	return bson.D{{Key: "level", Value: "snapshot"}, {Key: "atClusterTime", Value: timestamp(at)}}
}

func timestamp(at clustertime.Time) bson.Timestamp {
	return bson.Timestamp{T: at.Seconds(), I: at.Increment()}
}

// start is how a service begins at a point.
type start struct {
	point
	// byToken: after the event, with its token. Otherwise at its time, so with the event.
	byToken bool
	// batch is how many events come at once.
	batch int
	// scanAt is how many requests the stream makes before the first scan reads. Negative: the scan
	// reads when the stream has reached the end.
	scanAt int
}

func (s start) String() string {
	by := "time"
	if s.byToken {
		by = "token"
	}
	return fmt.Sprintf("%s %d, batch %d, scan at %d", by, s.event, s.batch, s.scanAt)
}

// starts are one by time and one by token for each event, in a random order. The rest of each is
// random.
func (r *recording) starts() []start {
	random := rand.New(rand.NewPCG(*seed, 5))
	var all []start
	for _, p := range r.points {
		for _, byToken := range []bool{false, true} {
			s := start{point: p, byToken: byToken, batch: 1 + random.IntN(20), scanAt: 1 + random.IntN(8)}
			if random.IntN(2) == 0 {
				s.scanAt = -1
			}
			all = append(all, s)
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// resume starts a service at a point, lets it run to the end, and returns what is wrong. reads is
// how many keys needed a read.
func (r *recording) resume(ctx context.Context, s start) (wrong []string, reads int) {
	d := &director{recording: r, start: s, scanning: make(chan struct{}), scan: make(chan struct{})}
	i, err := startService(r.server, r.writer, newWire(d.intercept))
	if err != nil {
		return []string{err.Error()}, 0
	}
	defer func() {
		d.goOn()
		if err := i.stop(); err != nil {
			wrong = append(wrong, fmt.Sprintf("Run: %v", err))
		}
	}()
	reached := func() bool { f := i.Cache.Freshness(); return f != nil && f.Processed >= r.last }
	if !await(waitLimit, reached) {
		return []string{"the stream does not reach the end"}, 0
	}
	d.goOn()
	if !await(waitLimit, i.isCurrent) {
		return []string{"the cache does not become complete"}, 0
	}
	return r.compare(ctx, i)
}

// compare compares each key's entry and answer with the database.
func (r *recording) compare(ctx context.Context, i *instance) (wrong []string, reads int) {
	for n, text := range r.writer.texts {
		want := r.states[n]
		if entry, ok := i.Cache.Get(apikey.HashOf(text)); !ok {
			reads++
		} else {
			v := apikey.Verdict{Code: apikey.NotFound}
			if entry.Found {
				v.Code, v.Record = codeOf(entry.Record), entry.Record
			}
			if got := stateOfVerdict(&v); got != want {
				wrong = append(wrong, fmt.Sprintf("key %d: the entry is %v, want %v", n, got, want))
			}
		}
		v := i.Validator.Validate(ctx, text, &apikey.Request{})
		if got := stateOfVerdict(&v); got.code != want.code || want.name != "" && got.name != want.name {
			wrong = append(wrong, fmt.Sprintf("key %d: the answer is %v from %v, want %v", n, got, v.Source, want))
		}
	}
	if n := i.Cache.Stats().Mismatches; n != 0 {
		wrong = append(wrong, fmt.Sprintf("%d mismatches", n))
	}
	return wrong, reads
}

func codeOf(record *apikey.Record) apikey.Code {
	switch {
	case !record.Active:
		return apikey.Disabled
	case !record.ExpiresAt.IsZero() && record.ExpiresAt.Before(time.Now()):
		return apikey.Expired
	}
	return apikey.Valid
}

// The run that is recorded, and how many starts the gate tries.
const (
	recordedWrites    = 500
	recordedDocuments = 60
	sampledStarts     = 16
	workers           = 4
)

func TestResumeFromEveryTime(t *testing.T) {
	// The servers are the outer subtests: "-run /external" selects one.
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for _, duplicates := range []bool{false, true} {
			t.Run(map[bool]string{false: "unique", true: "duplicates"}[duplicates], func(t *testing.T) {
				r := recordOn(t, s, duplicates)
				starts := r.starts()
				if !*full {
					starts = starts[:sampledStarts]
				}
				found := r.search(t.Context(), starts, false)
				for _, wrong := range found.wrong {
					t.Error(wrong)
				}
				t.Logf("%d events, %d starts: %.1f of %d keys needed a read", len(r.points), found.tried, float64(found.reads)/float64(found.tried), len(r.writer.texts))
			})
		}
	})
}

func recordOn(t *testing.T, s *mongotest.Server, duplicates bool) *recording {
	t.Helper()
	if s.Name == mongotest.NameDevmongo {
		return recordOnDevmongo(t, duplicates)
	}
	w := newWriter(t, s, recordedDocuments)
	if duplicates {
		w.allowDuplicates(t)
	}
	return record(t, s, w, recordedWrites)
}

// recordOnDevmongo uses a server of its own, which keeps the documents of the past.
func recordOnDevmongo(t *testing.T, duplicates bool) *recording {
	t.Helper()
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	w := newWriter(t, &d.Server, recordedDocuments)
	if duplicates {
		w.allowDuplicates(t)
	}
	d.Node.KeepHistory(true)
	r := record(t, &d.Server, w, recordedWrites)
	d.Node.KeepHistory(false)
	if !r.past {
		t.Fatal("devmongo shows no documents of the past")
	}
	return r
}

// result is what starts have shown.
type result struct {
	mutex sync.Mutex
	// wrong is what was wrong. reads is how many keys needed a read, in all starts that were tried.
	wrong        []string
	reads, tried int
}

// search tries starts, several at a time; with first, until something is wrong.
func (r *recording) search(ctx context.Context, starts []start, first bool) *result {
	found := &result{}
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(starts); n = int(next.Add(1)) - 1 {
				wrong, reads := r.resume(ctx, starts[n])
				if found.add(starts[n], wrong, reads) && first {
					next.Store(int64(len(starts)))
				}
			}
		})
	}
	group.Wait()
	return found
}

// add reports whether something is wrong.
func (f *result) add(s start, wrong []string, reads int) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, one := range wrong {
		f.wrong = append(f.wrong, fmt.Sprintf("%v: %s", s, one))
	}
	f.reads, f.tried = f.reads+reads, f.tried+1
	return len(f.wrong) > 0
}
