package resume

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

const keysCollection = "api_keys"

// writer makes the writes of a run, which its seed determines.
type writer struct {
	client *mongo.Client
	keys   *mongo.Collection
	random *rand.Rand
	// texts are the keys. Documents get the hash of one, and lose it.
	texts     []string
	documents int
	// duplicates: there is no unique index, and documents may get a hash that another one has.
	duplicates bool
	version    int
}

func newWriter(t *testing.T, s *mongotest.Server, documents int) *writer {
	t.Helper()
	if strings.Contains(s.URI, "tls=true") || strings.Contains(s.URI, "ssl=true") || strings.HasPrefix(s.URI, "mongodb+srv") {
		t.Skip("the test reads the service's connections, and TLS hides what they carry: name the set without TLS")
	}
	client := s.Client(t)
	w := &writer{client: client, random: rand.New(rand.NewPCG(*seed, 19)), documents: documents}
	w.keys = mongotest.CreateAPIKeys(t, client.Database(s.Database(t)))
	for range documents * 3 / 2 {
		text, err := apikey.Generate(apikey.DefaultPrefix, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.texts = append(w.texts, text)
	}
	return w
}

// allowDuplicates drops the unique index.
func (w *writer) allowDuplicates(t *testing.T) {
	t.Helper()
	w.duplicates = true
	if err := w.keys.Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
		t.Fatal(err)
	}
}

// write is a kind of write.
type write struct {
	name string
	do   func(ctx context.Context) error
}

// writes are the kinds, each as often as it is to be chosen.
func (w *writer) writes() []write {
	field := func(key string, value func() any) func(context.Context) error {
		return func(ctx context.Context) error { return w.set(ctx, w.anyID(), bson.D{{Key: key, Value: value()}}) }
	}
	constant := func(value any) func() any { return func() any { return value } }
	return []write{
		{"insert", w.insert},
		{"insert", w.insert},
		{"insert", w.insert},
		{"switch off", field("is_active", constant(false))},
		{"switch off", field("is_active", constant(false))},
		{"switch on", field("is_active", constant(true))},
		{"expire", field("expires_at", constant(time.Now().Add(-time.Hour)))},
		{"never expire", func(ctx context.Context) error {
			_, err := w.keys.UpdateByID(ctx, w.anyID(), bson.D{{Key: "$unset", Value: bson.D{{Key: "expires_at", Value: ""}}}})
			return err
		}},
		{"rename the key", field("name", w.name)},
		{"rename the key", field("name", w.name)},
		{"an unmapped field", field("note", w.name)},
		{"replace", w.replace},
		{"replace", w.replace},
		{"delete", w.remove},
		{"another hash", w.rehash},
		{"another hash", w.rehash},
		{"move a hash in a transaction", w.move},
		{"move a hash in a transaction", w.move},
		{"switch many", w.switchMany},
		{"bulk", w.bulk},
		{"another collection", func(ctx context.Context) error {
			_, err := w.keys.Database().Collection("other").InsertOne(ctx, bson.D{})
			return err
		}},
	}
}

// next makes the next write, and returns its name. It tries others until one is possible.
func (w *writer) next(ctx context.Context) (string, error) {
	kinds := w.writes()
	for {
		kind := kinds[w.random.IntN(len(kinds))]
		err := kind.do(ctx)
		if errors.Is(err, errImpossible) || mongo.IsDuplicateKeyError(err) {
			continue
		}
		return kind.name, err
	}
}

// errImpossible means that the documents do not allow the write.
var errImpossible = errors.New("there is no document for this write")

func (w *writer) anyID() string { return fmt.Sprintf("document-%d", w.random.IntN(w.documents)) }

func (w *writer) anyHash() string { return apikey.HashOf(w.texts[w.random.IntN(len(w.texts))]).Hex() }

// name makes each version of a document different from all others.
func (w *writer) name() any {
	w.version++
	return fmt.Sprintf("version %d", w.version)
}

func (w *writer) document(id, hash string) bson.D {
	return bson.D{
		{Key: "_id", Value: id},
		{Key: "key_hash", Value: hash},
		{Key: "user_id", Value: "user-1"},
		{Key: "name", Value: w.name()},
		{Key: "is_active", Value: w.random.IntN(4) != 0},
		{Key: "created_at", Value: time.Now()},
	}
}

func (w *writer) set(ctx context.Context, id string, fields bson.D) error {
	_, err := w.keys.UpdateByID(ctx, id, bson.D{{Key: "$set", Value: fields}})
	return err
}

func (w *writer) insert(ctx context.Context) error {
	_, err := w.keys.InsertOne(ctx, w.document(w.anyID(), w.anyHash()))
	return err
}

func (w *writer) replace(ctx context.Context) error {
	id := w.anyID()
	_, err := w.keys.ReplaceOne(ctx, bson.D{{Key: "_id", Value: id}}, w.document(id, w.anyHash()))
	return err
}

func (w *writer) remove(ctx context.Context) error {
	_, err := w.keys.DeleteOne(ctx, bson.D{{Key: "_id", Value: w.anyID()}})
	return err
}

func (w *writer) rehash(ctx context.Context) error {
	return w.set(ctx, w.anyID(), bson.D{{Key: "key_hash", Value: w.anyHash()}})
}

// move gives the hash of one document to another one, which had a different one.
func (w *writer) move(ctx context.Context) error {
	from, to := w.anyID(), w.anyID()
	var document struct {
		Hash string `bson:"key_hash"`
	}
	err := w.keys.FindOne(ctx, bson.D{{Key: "_id", Value: from}}).Decode(&document)
	if errors.Is(err, mongo.ErrNoDocuments) || from == to {
		return errImpossible
	}
	if err != nil {
		return err
	}
	session, err := w.client.StartSession()
	if err != nil {
		return err
	}
	defer session.EndSession(ctx)
	other := w.anyHash()
	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		return nil, errors.Join(
			w.set(ctx, from, bson.D{{Key: "key_hash", Value: other}}),
			w.set(ctx, to, bson.D{{Key: "key_hash", Value: document.Hash}, {Key: "name", Value: w.name()}}),
		)
	}, options.Transaction().SetWriteConcern(writeconcern.Majority()))
	return err
}

func (w *writer) switchMany(ctx context.Context) error {
	_, err := w.keys.UpdateMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{w.anyID(), w.anyID(), w.anyID()}}}}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: w.random.IntN(2) == 0}}}})
	return err
}

func (w *writer) bulk(ctx context.Context) error {
	_, err := w.keys.BulkWrite(ctx, []mongo.WriteModel{
		mongo.NewDeleteOneModel().SetFilter(bson.D{{Key: "_id", Value: w.anyID()}}),
		mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: w.anyID()}}).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: w.name()}}}}),
		mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: w.anyID()}}).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}}),
	})
	return err
}

// state is what a request with a key must be answered, apart from errors.
type state struct {
	code apikey.Code
	// name is that of the document's version. Empty: there is none, or more than one.
	name string
}

func (s state) String() string { return fmt.Sprintf("%v %q", s.code, s.name) }

// stateOf is the state of a key in these documents. It decides by its own rules.
func stateOf(text string, documents []keyDocument) state {
	hash := apikey.HashOf(text).Hex()
	own := slices.DeleteFunc(slices.Clone(documents), func(d keyDocument) bool { return d.Hash != hash })
	switch {
	case len(own) == 0:
		return state{code: apikey.NotFound}
	case len(own) > 1:
		return state{code: apikey.Disabled}
	case !own[0].Active:
		return state{apikey.Disabled, own[0].Name}
	case !own[0].Expires.IsZero() && own[0].Expires.Before(time.Now()):
		return state{apikey.Expired, own[0].Name}
	}
	return state{apikey.Valid, own[0].Name}
}

type keyDocument struct {
	Hash    string    `bson:"key_hash"`
	Name    string    `bson:"name"`
	Active  bool      `bson:"is_active"`
	Expires time.Time `bson:"expires_at"`
}

// states are those of all keys now, in the order of texts.
func (w *writer) states(ctx context.Context) ([]state, error) {
	cursor, err := w.keys.Find(ctx, bson.D{})
	if err != nil {
		return nil, err
	}
	var documents []keyDocument
	if err := cursor.All(ctx, &documents); err != nil {
		return nil, err
	}
	all := make([]state, len(w.texts))
	for i, text := range w.texts {
		all[i] = stateOf(text, documents)
	}
	return all, nil
}

// stateOfVerdict is the state that an answer shows.
func stateOfVerdict(v *apikey.Verdict) state {
	s := state{code: v.Code}
	if v.Record != nil {
		s.name = v.Record.Name
	}
	return s
}
