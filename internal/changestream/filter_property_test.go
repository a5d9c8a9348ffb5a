package changestream

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

var filterSeed = flag.Uint64("filter.seed", 0, "the seed of TestDroppedUpdatesChangeNoRecord, as a failure prints it; 0: a new one")

// sampleCount updates of as many documents take a second on a slow server.
const sampleCount = 600

// sample is one random update of a random document. Its number is the document's _id.
type sample struct {
	document      bson.D
	update        any
	before, after bson.Raw
	// event is the update's, nil if there was none: the server refused the update, or it changed
	// nothing.
	event *event
	// passed: the event came through the stream with the filter.
	passed bool
}

// TestDroppedUpdatesChangeNoRecord compares three things for random updates: which fields of the
// document are different afterwards, which the event names, and whether the document decodes to
// something else. It is the theorem of DESIGN.md, "Only fields that decide", on a real stream.
func TestDroppedUpdatesChangeNoRecord(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		seed := *filterSeed
		if seed == 0 {
			seed = uint64(time.Now().UnixNano())
		}
		t.Logf("seed: -filter.seed %d", seed)
		samples := randomSamples(rand.New(rand.NewPCG(seed, 0)))
		runSamples(t, s, samples)
		in, changed, dropped := newInterpreter(&schema, own), 0, 0
		for _, sample := range samples {
			if sample.changed() {
				changed++
			}
			if sample.event != nil && !sample.passed {
				dropped++
			}
			if wrong := sample.check(t, in); wrong != "" {
				t.Errorf("%v by %v: %s", sample.document, sample.update, wrong)
			}
		}
		t.Logf("%d updates changed what the document decodes to, %d did not pass the filter", changed, dropped)
		if changed < sampleCount/30 || dropped < sampleCount/30 {
			t.Error("the samples are too much alike to prove anything")
		}
	})
}

// changed reports whether the update changed what the document decodes to.
func (s *sample) changed() bool {
	return !reflect.DeepEqual(schema.Decode(s.before), schema.Decode(s.after))
}

// check returns what is wrong about the update, or "".
func (s *sample) check(t *testing.T, in interpreter) string {
	t.Helper()
	differing := differingFields(t, s.before, s.after)
	if s.event == nil {
		if len(differing) > 0 {
			return fmt.Sprintf("%q are different, without an event", differing)
		}
		return ""
	}
	effect, err := in.interpret(s.event)
	switch {
	case err != nil || effect.loss != nil:
		return fmt.Sprintf("got %v, %v", effect.loss, err)
	case s.passed != (effect.change != nil):
		return fmt.Sprintf("the server's filter passes %v, the client's %v", s.passed, effect.change != nil)
	case s.changed() && !s.passed:
		return fmt.Sprintf("dropped, but it changed %+v to %+v", schema.Decode(s.before), schema.Decode(s.after))
	case s.event.kind == kindUpdate:
		return s.checkDescription(t, differing)
	}
	return ""
}

// checkDescription: the event names each field that is different, and passes only if it names one
// that decides.
func (s *sample) checkDescription(t *testing.T, differing []string) string {
	t.Helper()
	paths, err := s.event.touched()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, path := range paths {
		named[root(path)] = true
	}
	for _, name := range differing {
		if !named[root(name)] {
			return fmt.Sprintf("%q is different, and the event names only %q", name, paths)
		}
	}
	if decides := slices.ContainsFunc(schema.DecodedFields(), func(name string) bool { return named[name] }); s.passed != decides {
		return fmt.Sprintf("passed is %v for an event that names %q", s.passed, paths)
	}
	return ""
}

// differingFields are the names of root fields that do not have the same values in both documents.
func differingFields(t *testing.T, before, after bson.Raw) []string {
	t.Helper()
	byName := func(d bson.Raw) map[string][]byte {
		elements, err := d.Elements()
		if err != nil {
			t.Fatal(err)
		}
		all := map[string][]byte{}
		for _, e := range elements {
			all[e.Key()] = append(all[e.Key()], e...)
		}
		return all
	}
	was, is := byName(before), byName(after)
	var names []string
	for name, value := range was {
		if !bytes.Equal(value, is[name]) {
			names = append(names, name)
		}
	}
	for name := range is {
		if was[name] == nil {
			names = append(names, name)
		}
	}
	return names
}

// runSamples makes the updates on a server, and fills in what came of them.
func runSamples(t *testing.T, s *mongotest.Server, samples []*sample) {
	t.Helper()
	ctx := t.Context()
	db := s.Client(t).Database(s.Database(t))
	keys := db.Collection(schema.Collection)
	documents := make([]any, len(samples))
	for i, sample := range samples {
		documents[i] = sample.document
	}
	if _, err := keys.InsertMany(ctx, documents); err != nil {
		t.Fatal(err)
	}
	all, err := keys.Watch(ctx, mongo.Pipeline{})
	if err != nil {
		t.Fatal(err)
	}
	filtered, err := db.Watch(ctx, pipeline(&schema, own))
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, keys, func(s *sample, raw bson.Raw) { s.before = raw }, samples)
	refused := 0
	for i, sample := range samples {
		if _, err := keys.UpdateOne(ctx, bson.D{{Key: "_id", Value: i}}, sample.update); err != nil {
			refused++ // some cannot be applied to some documents, and devmongo knows only some
		}
	}
	if refused > len(samples)*3/4 {
		t.Fatalf("the server refused %d updates", refused)
	}
	readAll(t, keys, func(s *sample, raw bson.Raw) { s.after = raw }, samples)
	const last = "last"
	if _, err := keys.InsertOne(ctx, bson.D{{Key: "_id", Value: last}}); err != nil {
		t.Fatal(err)
	}
	drain(t, all, func(e event) { samples[e.id.AsInt64()].event = &e })
	drain(t, filtered, func(e event) { samples[e.id.AsInt64()].passed = true })
}

func readAll(t *testing.T, keys *mongo.Collection, see func(*sample, bson.Raw), samples []*sample) {
	t.Helper()
	cursor, err := keys.Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for cursor.Next(t.Context()) {
		see(samples[cursor.Current.Lookup("_id").AsInt64()], slices.Clone(cursor.Current))
	}
	if err := cursor.Err(); err != nil {
		t.Fatal(err)
	}
}

// drain reads events up to the first insert, and closes the stream.
func drain(t *testing.T, changes *mongo.ChangeStream, see func(event)) {
	t.Helper()
	defer func() { _ = changes.Close(t.Context()) }()
	for changes.Next(t.Context()) {
		e, err := decodeEvent(slices.Clone(changes.Current))
		if err != nil {
			t.Fatal(err)
		}
		if e.kind == kindInsert {
			return
		}
		see(e)
	}
	t.Fatal(changes.Err())
}

// decidingFields are written here and not taken from the schema, which could forget one.
var decidingFields = []string{"key_hash", "is_active", "user_id", "org_id", "project_id", "name", "scopes", "allowed_ips", "expires_at", "metadata"}

// otherFields decide nothing. Some have names that are like those that do.
var otherFields = []string{"plan", "notes", "last_used", "usage_count", "key_prefix", "created_at", "key_hash_old", "is_active2", "user"}

func randomSamples(r *rand.Rand) []*sample {
	g := generator{r, slices.Concat(decidingFields, otherFields)}
	samples := make([]*sample, sampleCount)
	for i := range samples {
		samples[i] = &sample{document: g.document(i), update: g.update()}
	}
	return samples
}

type generator struct {
	*rand.Rand
	fields []string
}

func (g generator) document(id int) bson.D {
	d := bson.D{{Key: "_id", Value: id}}
	for _, name := range g.fields {
		if g.IntN(5) > 0 {
			d = append(d, bson.E{Key: name, Value: g.value(name)})
		}
	}
	return d
}

// value is one that keytail can read in this field, or any other.
func (g generator) value(name string) any {
	if g.IntN(3) > 0 {
		switch name {
		case "key_hash":
			return g.hash()
		case "is_active":
			return g.IntN(2) == 0
		case "scopes":
			return []any{bson.A{"read", "write", "admin"}, bson.A{"read"}, bson.A{}}[g.IntN(3)]
		case "allowed_ips":
			return []any{bson.A{"10.0.0.1", "10.1.0.0/16"}, bson.A{"::1"}}[g.IntN(2)]
		case "expires_at":
			return bson.DateTime(g.Int64N(1 << 42))
		case "metadata":
			return bson.D{{Key: "a", Value: g.IntN(9)}, {Key: "list", Value: bson.A{1, 2, 3}}}
		default:
			return []any{"u1", "u2"}[g.IntN(2)]
		}
	}
	return []any{
		nil, true, int32(7), int64(8), 1.5, "text", bson.Symbol("s"), bson.DateTime(0),
		bson.A{"read", "write"},
		bson.A{g.hash(), 7, g.hash()},
		bson.D{{Key: "a", Value: 1}, {Key: "is_active", Value: true}},
		bson.A{},
		bson.D{},
	}[g.IntN(13)]
}

func (g generator) hash() string { return apikey.HashOf(time.Duration(g.Int64()).String()).Hex() }

// update changes one to three fields, by operators or by a pipeline. Half of the updates change only
// fields that decide nothing.
func (g generator) update() any {
	names := slices.Clone([][]string{g.fields, otherFields}[g.IntN(2)])
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	n := 1 + g.IntN(3)
	if g.IntN(4) == 0 {
		return g.pipeline(names[:n])
	}
	update := bson.D{}
	for i := range n {
		operator, path, value := g.operation(names[2*i], names[2*i+1])
		at := slices.IndexFunc(update, func(e bson.E) bool { return e.Key == operator })
		if at < 0 {
			at, update = len(update), append(update, bson.E{Key: operator, Value: bson.D{}})
		}
		update[at].Value = append(update[at].Value.(bson.D), bson.E{Key: path, Value: value})
	}
	return update
}

// operation is one operator of an update on the field or a part of it. spare is another field.
func (g generator) operation(name, spare string) (operator, path string, value any) {
	part := "" // the server refuses parts of most fields, because they have no parts
	if g.IntN(2) == 0 {
		part = []string{".a", ".0", ".1", ".list", ".list.1", ".new.deep"}[g.IntN(6)]
	}
	switch g.IntN(10) {
	case 0, 1, 2, 3:
		return "$set", name + part, g.value(name + part)
	case 4, 5:
		return "$unset", name + part, ""
	case 6:
		return "$pull", name, []any{"read", 7, "10.0.0.1"}[g.IntN(3)]
	case 7:
		return []string{"$inc", "$max"}[g.IntN(2)], name + part, 1
	case 8:
		return []string{"$push", "$pop"}[g.IntN(2)], name, 1
	}
	return "$rename", name, spare
}

func (g generator) pipeline(names []string) any {
	if g.IntN(8) == 0 {
		// A field whose own name has a dot, which MongoDB allows from 5.0 on.
		field := bson.D{{Key: "field", Value: names[0] + ".x"}, {Key: "input", Value: "$$ROOT"}, {Key: "value", Value: g.IntN(9)}}
		return bson.A{bson.D{{Key: "$replaceWith", Value: bson.D{{Key: "$setField", Value: field}}}}}
	}
	set := bson.D{}
	for _, name := range names {
		set = append(set, bson.E{Key: name, Value: bson.D{{Key: "$literal", Value: g.value(name)}}})
	}
	return bson.A{bson.D{{Key: "$set", Value: set}}}
}
