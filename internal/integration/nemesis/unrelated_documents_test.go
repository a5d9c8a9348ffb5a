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
	// unrelatedPace is the pause between two writes of a document that is not a key.
	unrelatedPace = 40 * time.Millisecond
	// unrelatedKept is the maximum number of such documents.
	unrelatedKept = 40
)

// unrelatedShapes are documents of other programs and of unfinished migrations in
// the same collection. No lookup of a key finds them, except for the array.
var unrelatedShapes = []struct {
	name string
	// hash returns the value of the hash field of document n. Nil: the field is missing.
	hash func(n int, text string) any
}{
	{"missing", nil},
	{"missing", nil}, // the most common case
	{"null", func(int, string) any { return bson.Null{} }},
	{"number", func(n int, _ string) any { return int64(n) }},
	{"bcrypt", func(n int, _ string) any { return fmt.Sprintf("$2b$12$%053d", n) }},
	{"upper case", func(_ int, text string) any { return strings.ToUpper(apikey.HashOf(text).Hex()) }},
	{"object", func(n int, _ string) any { return bson.D{{Key: "sha512", Value: fmt.Sprint(n)}} }},
	{"binary", func(_ int, text string) any { h := apikey.HashOf(text); return bson.Binary{Data: h[:]} }},
	{"array of a hash", func(_ int, text string) any { return bson.A{apikey.HashOf(text).Hex()} }},
	{"array of others", func(n int, _ string) any { return bson.A{n, fmt.Sprint("text ", n)} }},
}

// unrelatedDocument is a document that the unrelatedWriter has written.
type unrelatedDocument struct {
	id, text string
	shape    int
}

// unrelatedWriter continuously inserts, updates and deletes documents that no lookup
// finds. keytail must only process their events.
type unrelatedWriter struct {
	load   *workload
	keys   *mongo.Collection
	random *rand.Rand
	number int
	kept   []unrelatedDocument
}

// unrelatedLabel is the common name of the keys whose hash such a document contains in
// another form. None of them is ever VALID.
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

// turn makes one write. Errors do not matter, because the write affects no answer.
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

// reshape gives the document another unreadable hash.
func (c *unrelatedWriter) reshape(d *unrelatedDocument) bson.D {
	if hash := c.hashOf(d); hash != nil {
		return bson.D{{Key: "$set", Value: bson.D{{Key: "key_hash", Value: hash}}}}
	}
	return bson.D{{Key: "$unset", Value: bson.D{{Key: "key_hash", Value: ""}}}}
}

// forget ends the requests for the document's key.
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

// excessScans returns for each instance the number of scans minus the number of losses.
func (a *testbed) excessScans() []float64 {
	scans := make([]float64, len(a.instances))
	for n, i := range a.instances {
		scans[n] = testkit.Metric(a.t, i.keytail.registry, "keytail_scans_total") - testkit.Metric(a.t, i.keytail.registry, "keytail_losses_total")
	}
	return scans
}

// nemesisCached is the minimum share of answers from the cache, among those about keys
// without writes, while there is no fault.
const nemesisCached = 0.99

// checkWithoutFaults waits before the first fault. The unrelatedWriter must cause no scan,
// and keep no key out of the cache.
func (a *testbed) checkWithoutFaults(load *workload, d time.Duration) {
	a.t.Helper()
	scans, totals := a.excessScans(), load.history.Totals()
	a.after(d)
	for n, after := range a.excessScans() {
		if more := after - scans[n]; more > 0 {
			a.t.Errorf("%s: got %v scans in %v without any fault, want 0: documents that no lookup finds must not cause a scan", a.instances[n].name, more, d)
		}
	}
	now := load.history.Totals()
	quiet, cached := now.Quiet-totals.Quiet, now.QuietCached-totals.QuietCached
	if float64(cached) < nemesisCached*float64(quiet) {
		a.t.Errorf("got %d of %d answers about keys without writes from the cache, want a share of %v", cached, quiet, nemesisCached)
	}
}
