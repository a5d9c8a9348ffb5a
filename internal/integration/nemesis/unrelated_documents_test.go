package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
)

const (
	// unrelatedPace is the pause between two writes of a document that is no key.
	unrelatedPace = 40 * time.Millisecond
	// unrelatedKept is how many such documents there are at most.
	unrelatedKept = 40
)

// unrelatedShapes are documents of other programs and of unfinished migrations in
// the same collection. No look-up of a key finds them, except for the array.
var unrelatedShapes = []struct {
	name string
	// hash is the value of the hash field of document n. Nil: the field is missing.
	hash func(n int, text string) any
}{
	{"missing", nil},
	{"missing", nil}, // the usual one
	{"null", func(int, string) any { return bson.Null{} }},
	{"number", func(n int, _ string) any { return int64(n) }},
	{"bcrypt", func(n int, _ string) any { return fmt.Sprintf("$2b$12$%053d", n) }},
	{"upper case", func(_ int, text string) any { return strings.ToUpper(apikey.HashOf(text).Hex()) }},
	{"object", func(n int, _ string) any { return bson.D{{Key: "sha512", Value: fmt.Sprint(n)}} }},
	{"binary", func(_ int, text string) any { h := apikey.HashOf(text); return bson.Binary{Data: h[:]} }},
	{"array of a hash", func(_ int, text string) any { return bson.A{apikey.HashOf(text).Hex()} }},
	{"array of others", func(n int, _ string) any { return bson.A{n, fmt.Sprint("text ", n)} }},
}

// unrelatedDocument is one that the unrelatedWriter has written.
type unrelatedDocument struct {
	id, text string
	shape    int
}

// unrelatedWriter inserts, updates and deletes documents that no lookup finds, all the time. It
// must cost keytail nothing but their events.
type unrelatedWriter struct {
	load   *workload
	keys   *mongo.Collection
	random *rand.Rand
	number int
	kept   []unrelatedDocument
}

// unrelatedLabel is the name of all keys whose hash such a document holds in another
// form. None of them is ever VALID.
const unrelatedLabel = "unrelatedWriter"

func (a *workload) startUnrelatedWriter(ctx context.Context) {
	c := &unrelatedWriter{load: a, keys: a.keys[0], random: rand.New(rand.NewPCG(a.seed, 11))}
	a.history.DeclareUnrecorded(unrelatedLabel, apikey.NotFound, apikey.Disabled)
	a.writers.Go(func() {
		pace := time.NewTicker(unrelatedPace)
		defer pace.Stop()
		for ctx.Err() == nil {
			a.pauseWriters.RLock()
			c.turn(ctx)
			a.pauseWriters.RUnlock()
			select {
			case <-ctx.Done():
			case <-pace.C:
			}
		}
	})
}

// turn makes one write. Errors do not matter: what the write has done shows in
// no answer.
func (c *unrelatedWriter) turn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if len(c.kept) < unrelatedKept && c.random.IntN(3) > 0 {
		c.insert(ctx)
		return
	}
	if len(c.kept) == 0 {
		return
	}
	i := c.random.IntN(len(c.kept))
	d := &c.kept[i]
	id := bson.D{{Key: "_id", Value: d.id}}
	switch c.random.IntN(3) {
	case 0:
		_, _ = c.keys.DeleteOne(ctx, id)
		c.forget(i)
	case 1:
		_, _ = c.keys.UpdateOne(ctx, id, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: fmt.Sprint("name ", c.random.Int())}}}})
	default:
		d.shape = c.random.IntN(len(unrelatedShapes))
		_, _ = c.keys.UpdateOne(ctx, id, c.reshape(d))
	}
}

func (c *unrelatedWriter) insert(ctx context.Context) {
	c.number++
	s := newSubject(unrelatedLabel, false)
	d := unrelatedDocument{id: fmt.Sprint("unrelatedWriter-", c.number), text: s.text, shape: c.random.IntN(len(unrelatedShapes))}
	c.kept = append(c.kept, d)
	c.load.addSubject(s)
	document := testkit.Document(d.id, d.text)
	document = slices.DeleteFunc(document, func(e bson.E) bool { return e.Key == "key_hash" })
	if hash := c.hashOf(&d); hash != nil {
		document = append(document, bson.E{Key: "key_hash", Value: hash})
	}
	_, _ = c.keys.InsertOne(ctx, document)
}

func (c *unrelatedWriter) hashOf(d *unrelatedDocument) any {
	if hash := unrelatedShapes[d.shape].hash; hash != nil {
		c.number++
		return hash(c.number, d.text)
	}
	return nil
}

// reshape gives the document another hash that is none.
func (c *unrelatedWriter) reshape(d *unrelatedDocument) bson.D {
	if hash := c.hashOf(d); hash != nil {
		return bson.D{{Key: "$set", Value: bson.D{{Key: "key_hash", Value: hash}}}}
	}
	return bson.D{{Key: "$unset", Value: bson.D{{Key: "key_hash", Value: ""}}}}
}

// forget stops asking for the document's key.
func (c *unrelatedWriter) forget(i int) {
	c.load.removeSubject(c.kept[i].text)
	c.kept = slices.Delete(c.kept, i, i+1)
}

func (a *workload) addSubject(s subject) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.subjects = append(a.subjects, s)
}

func (a *workload) removeSubject(text string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.subjects = slices.DeleteFunc(a.subjects, func(s subject) bool { return s.text == text })
}

// excessScans is how many more scans than losses each instance has counted.
func (a *testbed) excessScans() []float64 {
	scans := make([]float64, len(a.instances))
	for n, i := range a.instances {
		scans[n] = testkit.Metric(a.t, i.registry, "keytail_scans_total") - testkit.Metric(a.t, i.registry, "keytail_losses_total")
	}
	return scans
}

// nemesisCached is the least part of the answers about keys that nobody writes
// that come from memory while nothing is broken.
const nemesisCached = 0.99

// checkWithoutFaults waits while nothing is broken. The unrelatedWriter must cause no scan, and keep no
// key out of memory.
func (a *testbed) checkWithoutFaults(load *workload, d time.Duration) {
	a.t.Helper()
	scans, totals := a.excessScans(), load.history.Totals()
	a.after(d)
	for n, after := range a.excessScans() {
		if more := after - scans[n]; more > 0 {
			a.t.Errorf("%s scanned the collection %v times in %v without any fault: documents that no look-up finds must cost no scan", a.instances[n].name, more, d)
		}
	}
	now := load.history.Totals()
	quiet, cached := now.Quiet-totals.Quiet, now.QuietCached-totals.QuietCached
	if float64(cached) < nemesisCached*float64(quiet) {
		a.t.Errorf("%d of %d answers about keys without writes came from the cache, want %v of them", cached, quiet, nemesisCached)
	}
}
