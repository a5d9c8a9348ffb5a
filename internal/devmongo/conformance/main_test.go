package conformance

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// timeout bounds each test. A real replica set may elect a primary meanwhile.
const timeout = 30 * time.Second

var runDifferences = flag.Bool("conformance.differences", false, "run the cases that are listed as differences")

// rig is a server with an empty database for one test.
type rig struct {
	server *mongotest.Server
	client *mongo.Client
	db     *mongo.Database
	coll   *mongo.Collection
	ctx    context.Context
}

// each runs f on every server, with an empty database.
func each(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		skipDifference(t, s, strings.TrimSuffix(t.Name(), "/"+s.Name))
		f(t, newRig(t, s))
	})
}

func newRig(t *testing.T, s *mongotest.Server) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	client := s.Client(t)
	db := client.Database(s.Database(t))
	return &rig{server: s, client: client, db: db, coll: db.Collection("api_keys"), ctx: ctx}
}

// run runs one case of a test as a subtest, with its own database.
func (r *rig) run(t *testing.T, name string, f func(t *testing.T, r *rig)) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	t.Run(name, func(t *testing.T) {
		skipDifference(t, r.server, test+"/"+name)
		f(t, newRig(t, r.server))
	})
}

// skipDifference skips a case in which the server is known to differ.
func skipDifference(t *testing.T, s *mongotest.Server, name string) {
	t.Helper()
	if reason := differences()[s.Kind][name]; reason != "" && !*runDifferences {
		t.Skipf("%s %s differs from MongoDB: %s", s.Kind, s.Version, reason)
	}
}

// command runs a command on a database.
func (r *rig) command(db string, command bson.D) (bson.D, error) {
	var reply bson.D
	err := r.client.Database(db).RunCommand(r.ctx, command).Decode(&reply)
	return reply, err
}

// commandIn runs a command on the rig's database in the session of ctx.
func (r *rig) commandIn(ctx context.Context, command bson.D) (bson.D, error) {
	var reply bson.D
	err := r.db.RunCommand(ctx, command).Decode(&reply)
	return reply, err
}

func (r *rig) insert(t *testing.T, docs ...any) {
	t.Helper()
	if _, err := r.coll.InsertMany(r.ctx, docs); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) update(t *testing.T, id, update any) {
	t.Helper()
	if _, err := r.coll.UpdateByID(r.ctx, id, update); err != nil {
		t.Fatal(err)
	}
}

// find returns the only document that matches.
func (r *rig) find(t *testing.T, filter any) bson.D {
	t.Helper()
	var got bson.D
	if err := r.coll.FindOne(r.ctx, filter).Decode(&got); err != nil {
		t.Fatalf("find %v: %v", filter, err)
	}
	return got
}

// ids returns the _id values that a query finds, in its order.
func (r *rig) ids(t *testing.T, filter any, opts ...options.Lister[options.FindOptions]) bson.A {
	t.Helper()
	cursor, err := r.coll.Find(r.ctx, filter, append(opts, options.Find().SetProjection(d("_id", 1)))...)
	if err != nil {
		t.Fatalf("find %v: %v", filter, err)
	}
	var docs []bson.D
	if err := cursor.All(r.ctx, &docs); err != nil {
		t.Fatalf("find %v: %v", filter, err)
	}
	ids := bson.A{}
	for _, doc := range docs {
		ids = append(ids, doc[0].Value)
	}
	return ids
}

// failCommand sets the failpoint. It is switched off when t ends.
func (r *rig) failCommand(t *testing.T, mode any, data bson.D) {
	t.Helper()
	r.server.Needs(t, mongotest.Failpoints)
	if _, err := r.command("admin", d("configureFailPoint", "failCommand", "mode", mode, "data", data)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.command("admin", d("configureFailPoint", "failCommand", "mode", "off")) })
}

// d makes a document of keys and values.
func d(pairs ...any) bson.D {
	out := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return out
}

// part returns the value at a dotted path of documents, or nil.
func part(v any, path string) any {
	for _, name := range strings.Split(path, ".") {
		doc, _ := v.(bson.D)
		i := slices.IndexFunc(doc, func(e bson.E) bool { return e.Key == name })
		if i < 0 {
			return nil
		}
		v = doc[i].Value
	}
	return v
}

// has reports whether a document has a field.
func has(doc bson.D, name string) bool {
	return slices.ContainsFunc(doc, func(e bson.E) bool { return e.Key == name })
}

// equal compares the BSON of two values: types and order of fields count.
func equal(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := bson.Marshal(d("v", a))
	if err != nil {
		t.Fatal(err)
	}
	y, err := bson.Marshal(d("v", b))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

// code returns the server's error code, or zero.
func code(err error) int {
	if we, ok := errors.AsType[mongo.WriteException](err); ok && len(we.WriteErrors) > 0 {
		return we.WriteErrors[0].Code
	}
	if se, ok := errors.AsType[mongo.ServerError](err); ok && len(se.ErrorCodes()) > 0 {
		return se.ErrorCodes()[0]
	}
	return 0
}

// wantCode checks the error code. With several codes, the version decides.
func wantCode(t *testing.T, err error, want ...int) {
	t.Helper()
	if got := code(err); !slices.Contains(want, got) {
		t.Errorf("error code %d, want %v: %v", got, want, err)
	}
}
