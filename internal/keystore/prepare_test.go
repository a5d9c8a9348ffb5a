package keystore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// place is an empty database and a Store for it.
type place struct {
	*Store
	db *mongo.Database
}

func newPlace(t *testing.T, s *mongotest.Server) place {
	t.Helper()
	client := s.Client(t)
	db := client.Database(s.Database(t))
	store, err := New(Config{Client: client, Database: db.Name()})
	if err != nil {
		t.Fatal(err)
	}
	return place{store, db}
}

func (p place) create(t *testing.T, name string, opts ...options.Lister[options.CreateCollectionOptions]) {
	t.Helper()
	if err := p.db.CreateCollection(testContext(t), name, opts...); err != nil {
		t.Fatal(err)
	}
}

func (p place) index(t *testing.T, keys bson.D, opts *options.IndexOptionsBuilder) {
	t.Helper()
	_, err := p.db.Collection("api_keys").Indexes().CreateOne(testContext(t), mongo.IndexModel{Keys: keys, Options: opts})
	if err != nil {
		t.Fatal(err)
	}
}

var onHash = bson.D{{Key: "key_hash", Value: 1}}

// wantSentence checks the kind of an error, and that it is one sentence with
// these words.
func wantSentence(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want an error that is %q", err, kind)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %v", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("nothing about %q in: %v", word, err)
		}
	}
}

func TestPrepareAcceptsWhatIsThere(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for name, prepare := range map[string]func(*testing.T, place){
			"unique": func(t *testing.T, p place) { p.index(t, onHash, options.Index().SetUnique(true)) },
			"descending, other name": func(t *testing.T, p place) {
				p.index(t, bson.D{{Key: "key_hash", Value: -1}}, options.Index().SetUnique(true).SetName("mine"))
			},
			"sparse": func(t *testing.T, p place) {
				p.index(t, onHash, options.Index().SetUnique(true).SetSparse(true))
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := newPlace(t, s)
				p.create(t, "api_keys")
				prepare(t, p)
				for _, ensure := range []bool{false, true} {
					if err := p.Prepare(testContext(t), ensure); err != nil {
						t.Errorf("ensure %v: %v", ensure, err)
					}
				}
				if err := p.Inspect(testContext(t)); err != nil {
					t.Errorf("Inspect: %v", err)
				}
			})
		}
	})
}

func TestPrepareRefusesAMissingCollectionAndNamesOthers(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := newPlace(t, s)
		err := p.Prepare(testContext(t), false)
		wantSentence(t, err, ErrCollectionMissing, p.db.Name(), `"api_keys"`, "no other", "--ensure-schema")
		p.create(t, "apikeys")
		p.create(t, "users")
		wantSentence(t, p.Inspect(testContext(t)), ErrCollectionMissing, "but has apikeys, users")
	})
}

func TestOthersNamesTen(t *testing.T) {
	t.Parallel()
	var many []listedCollection
	for i := range 12 {
		many = append(many, listedCollection{Name: fmt.Sprintf("c%02d", 11-i)})
	}
	many = append(many, listedCollection{Name: "system.views"})
	if got, want := others(many), "but has c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrepareRefusesAView(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Views)
		p := newPlace(t, s)
		p.create(t, "people")
		if err := p.db.CreateView(testContext(t), "api_keys", "people", mongo.Pipeline{}); err != nil {
			t.Fatal(err)
		}
		for _, ensure := range []bool{false, true} {
			wantSentence(t, p.Prepare(testContext(t), ensure), ErrIsView, "api_keys is a view")
		}
		wantSentence(t, p.Inspect(testContext(t)), ErrIsView)
	})
}

func TestPrepareRefusesAMissingIndex(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := newPlace(t, s)
		p.create(t, "api_keys")
		p.index(t, bson.D{{Key: "key_hash", Value: 1}, {Key: "org_id", Value: 1}}, options.Index().SetUnique(true))
		err := p.Prepare(testContext(t), false)
		wantSentence(t, err, ErrNoUniqueIndex, "no unique index on key_hash", `createIndex({"key_hash": 1}, {unique: true})`)
	})
}

func TestPrepareRefusesAnUnusableIndexWithOrWithoutEnsure(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := newPlace(t, s)
		p.create(t, "api_keys")
		p.index(t, onHash, options.Index())
		for _, ensure := range []bool{false, true} {
			wantSentence(t, p.Prepare(testContext(t), ensure), ErrNoUniqueIndex, "not unique", "drop it", "key_hash_1")
		}
	})
}

func TestEnsureCreatesWhatIsMissing(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := newPlace(t, s)
		if err := p.Prepare(testContext(t), true); err != nil {
			t.Fatal(err)
		}
		if err := p.Prepare(testContext(t), false); err != nil {
			t.Fatal(err)
		}
		keys := p.db.Collection("api_keys")
		if _, err := keys.InsertOne(testContext(t), document(t)); err != nil {
			t.Fatal(err)
		}
		_, err := keys.InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: "key-2"}))
		if !mongo.IsDuplicateKeyError(err) {
			t.Errorf("a second document with the hash: got %v", err)
		}
	})
}

func TestEnsureReportsDuplicates(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := newPlace(t, s)
		p.create(t, "api_keys")
		for _, id := range []string{"a", "b"} {
			if _, err := p.db.Collection("api_keys").InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: id})); err != nil {
				t.Fatal(err)
			}
		}
		err := p.Prepare(testContext(t), true)
		wantSentence(t, err, ErrNoUniqueIndex, "share a value", "sparse: true")
		if strings.Contains(err.Error(), testHash.Hex()) {
			t.Errorf("the hash is in the error: %v", err)
		}
	})
}

// TestEvaluateIndexes covers indexes that not every server of the suite can
// create.
func TestEvaluateIndexes(t *testing.T) {
	t.Parallel()
	s, _, _ := observed(t)
	exists := bson.D{{Key: "key_hash", Value: bson.D{{Key: "$exists", Value: true}}}}
	active := bson.D{{Key: "is_active", Value: true}}
	english := bson.D{{Key: "locale", Value: "en"}}
	for name, test := range map[string]struct {
		changes bson.D
		want    string // empty: usable
	}{
		"plain":            {bson.D{}, ""},
		"old true":         {bson.D{{Key: "unique", Value: 1.0}}, ""},
		"unique false":     {bson.D{{Key: "unique", Value: false}}, "not unique"},
		"partial":          {bson.D{{Key: "partialFilterExpression", Value: active}}, "partial"},
		"partial, exists":  {bson.D{{Key: "partialFilterExpression", Value: exists}}, ""},
		"collation":        {bson.D{{Key: "collation", Value: english}}, "collation"},
		"simple collation": {bson.D{{Key: "collation", Value: bson.D{{Key: "locale", Value: "simple"}}}}, ""},
		"hidden":           {bson.D{{Key: "hidden", Value: true}}, "hidden"},
	} {
		doc := bson.D{{Key: "v", Value: 2}, {Key: "name", Value: "key_hash_1"}, {Key: "key", Value: onHash}, {Key: "unique", Value: true}}
		for _, change := range test.changes {
			doc = with(doc, change)
		}
		raw, err := bson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var i index
		if err := bson.Unmarshal(raw, &i); err != nil {
			t.Fatal(err)
		}
		err = s.checkUsable(i)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want words like %q", name, err, test.want)
		}
	}
}

func TestOnlyAnIndexOnTheHashAloneCounts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key  bson.D
		want bool
	}{
		"ascending":  {onHash, true},
		"double":     {bson.D{{Key: "key_hash", Value: -1.0}}, true},
		"hashed":     {bson.D{{Key: "key_hash", Value: "hashed"}}, false},
		"compound":   {bson.D{{Key: "key_hash", Value: 1}, {Key: "a", Value: 1}}, false},
		"other":      {bson.D{{Key: "a", Value: 1}}, false},
		"no key":     {bson.D{}, false},
		"longer one": {bson.D{{Key: "key_hash2", Value: 1}}, false},
	} {
		raw, err := bson.Marshal(test.key)
		if err != nil {
			t.Fatal(err)
		}
		if got := (index{Key: raw}).on("key_hash"); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestCollectionWithACollationIsRefused(t *testing.T) {
	t.Parallel()
	s, _, _ := observed(t)
	key, err := bson.Marshal(bson.D{{Key: "_id", Value: 1}})
	if err != nil {
		t.Fatal(err)
	}
	i := index{Name: "_id_", Key: key}
	if err := s.checkCollation([]index{i}); err != nil {
		t.Errorf("without one: %v", err)
	}
	i.Collation.Locale = "en"
	wantSentence(t, s.checkCollation([]index{i}), ErrCollation, `"en"`)
}

func TestOnlyAPlainCollectionPasses(t *testing.T) {
	t.Parallel()
	s, _, _ := observed(t)
	for kind, want := range map[string]error{
		"collection": nil, "view": ErrIsView, "timeseries": ErrIsTimeseries, "": ErrIsTimeseries, "something new": ErrIsTimeseries,
	} {
		err := s.checkType([]listedCollection{{"api_key", "collection"}, {"api_keys", kind}, {"api_keys2", "collection"}})
		if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", kind, err, want)
		}
	}
}

// TestAServerWithoutHello, like 4.4.0 and 4.4.1, gets isMaster.
func TestAServerWithoutHello(t *testing.T) {
	t.Parallel()
	node := mongotest.StartDevmongo(t, devmongo.Config{Release44: true})
	s, err := New(Config{Client: node.Client(t), Database: node.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.CheckDeployment(testContext(t))
	if err != nil || d.SetName == "" || !d.IsWritablePrimary || d.LocalTime.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	node.Node.StepDown(time.Minute)
	defer node.Node.StepUp()
	direct := node.Options("").SetDirect(true)
	if s, err = New(Config{Client: node.Connect(t, direct), Database: "app"}); err != nil {
		t.Fatal(err)
	}
	if _, err = s.CheckDeployment(testContext(t)); !errors.Is(err, ErrNotPrimary) {
		t.Errorf("with a direct connection to a secondary: %v", err)
	}
}

func TestRequireReplicaSet(t *testing.T) {
	t.Parallel()
	s, logs, _ := observed(t)
	for name, test := range map[string]struct {
		hello Deployment
		want  error
	}{
		"primary":    {Deployment{SetName: "rs0", IsWritablePrimary: true}, nil},
		"sharded":    {Deployment{Msg: msgSharded, IsWritablePrimary: true}, nil},
		"standalone": {Deployment{IsWritablePrimary: true}, ErrStandalone},
		"secondary":  {Deployment{SetName: "rs0", Me: "db2:27017"}, ErrNotPrimary},
	} {
		s.sharded.Store(false)
		if err := s.requireReplicaSet(test.hello); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if got := s.Sharded(); got != (name == "sharded") {
			t.Errorf("%s: sharded is %v", name, got)
		}
		s.logDeployment(test.hello)
	}
	if n := logs.FilterMessageSnippet("sharded cluster").Len(); n != 1 || logs.Len() != 1 {
		t.Errorf("got %v, want one line about the sharded cluster", logs.All())
	}
}

// shortContext is for servers that never answer.
func shortContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestPrepareRefusesAStandalone(t *testing.T) {
	s := mongotest.StartSecantus(t, mongotest.SecantusConfig{Args: []string{"--standalone"}})
	p := newPlace(t, &s.Server)
	wantSentence(t, p.Prepare(testContext(t), true), ErrStandalone, "--replSet", "rs.initiate()")
}

func TestPrepareReportsAnUnreachableServerWithoutThePassword(t *testing.T) {
	t.Parallel()
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://me:leak@127.0.0.1:9/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	s, err := New(Config{Client: client, Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Prepare(shortContext(t), false)
	wantSentence(t, err, ErrUnreachable, "no primary answered", "127.0.0.1:9")
	if strings.Contains(err.Error(), "leak") {
		t.Errorf("the password is in the error: %v", err)
	}
}

// withUser is a secantusd-py that requires logins and has one user, "reader".
func withUser(t *testing.T) *mongotest.Secantus {
	t.Helper()
	s := mongotest.StartSecantus(t, mongotest.SecantusConfig{})
	err := s.Client(t).Database("admin").RunCommand(testContext(t), bson.D{
		{Key: "createUser", Value: "reader"},
		{Key: "pwd", Value: "right"},
		{Key: "roles", Value: bson.A{bson.D{{Key: "role", Value: "read"}, {Key: "db", Value: "elsewhere"}}}},
	}).Err()
	if err != nil {
		t.Fatal(err)
	}
	s.Kill9()
	s.Args = []string{"--auth"}
	s.Restart(t)
	return s
}

func TestPrepareRefusesCredentialsWithoutShowingThem(t *testing.T) {
	s := withUser(t)
	for _, user := range []*url.Userinfo{url.UserPassword("reader", "leak"), url.UserPassword("nobody", "leak")} {
		uri := strings.Replace(s.URI, "mongodb://", "mongodb://"+user.String()+"@", 1)
		client := s.Connect(t, options.Client().ApplyURI(uri))
		store, err := New(Config{Client: client, Database: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		err = store.Prepare(testContext(t), false)
		wantSentence(t, err, ErrCredentials, "user name or password", "authSource")
		if strings.Contains(err.Error(), "leak") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

func TestPrepareRefusesAnAnonymousUserOfAServerThatRequiresLogins(t *testing.T) {
	s := withUser(t)
	store, err := New(Config{Client: s.Client(t), Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	wantSentence(t, store.Prepare(testContext(t), false), ErrUnauthorized, `the role read on database "shop"`)
}

func TestAMissingPrivilegeIsReported(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		client := s.Client(t, t.Name())
		db := client.Database(s.Database(t))
		mongotest.CreateAPIKeys(t, db)
		store, err := New(Config{Client: client, Database: db.Name()})
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"listCollections", "listIndexes"} {
			failpoint(t, s, bson.D{
				{Key: "failCommands", Value: bson.A{command}}, {Key: "errorCode", Value: codeUnauthorized}, {Key: "appName", Value: t.Name()},
			})
			wantSentence(t, store.Prepare(testContext(t), false), ErrUnauthorized, "grant the user", `the role read on database "`+db.Name())
		}
	})
}

// failpoint makes the server fail the next command of a kind.
func failpoint(t *testing.T, s *mongotest.Server, data bson.D) {
	t.Helper()
	err := s.Client(t).Database("admin").RunCommand(testContext(t), bson.D{
		{Key: "configureFailPoint", Value: "failCommand"},
		{Key: "mode", Value: bson.D{{Key: "times", Value: 1}}},
		{Key: "data", Value: data},
	}).Err()
	if err != nil {
		t.Fatal(err)
	}
}
