package othercaches

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// soon is how long a cache may take to do what it does when nothing fails.
const soon = 10 * time.Second

// fixture is a cache over an empty collection of a server of its own.
type fixture struct {
	*testing.T
	server *mongotest.Devmongo
	cache  Cache
	keys   *mongo.Collection
	text   string
}

func start(t *testing.T, k Kind, ttl time.Duration) *fixture {
	t.Helper()
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	database := d.Database(t)
	f := &fixture{T: t, server: d, keys: d.Client(t).Database(database).Collection("api_keys")}
	f.cache = k.New(Config{Keys: d.Client(t, "cache").Database(database).Collection("api_keys"), TTL: ttl})
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.text = text
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.cache.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return f
}

func (f *fixture) create() {
	f.Helper()
	document := bson.D{{Key: "_id", Value: "k"}, {Key: "key_hash", Value: apikey.HashOf(f.text).Hex()}, {Key: "user_id", Value: "u"}, {Key: "is_active", Value: true}}
	if _, err := f.keys.InsertOne(f.Context(), document); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) revoke() {
	f.Helper()
	if _, err := f.keys.UpdateByID(f.Context(), "k", bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) code() apikey.Code {
	return f.cache.Validate(f.Context(), f.text, &apikey.Request{}).Code
}

func (f *fixture) source() apikey.Source {
	ctx, cancel := context.WithTimeout(f.Context(), time.Second)
	defer cancel()
	return f.cache.Validate(ctx, f.text, &apikey.Request{}).Source
}

func (f *fixture) mustBecome(want apikey.Code) {
	f.Helper()
	mongotest.Eventually(f, soon, func() bool { return f.code() == want }, "the cache never answers ", want)
}

// TestEachCacheFollowsItsDatabase: without a fault, and if changes do not overlap reads, each cache does
// what it is meant to do. Otherwise the nemesis would compare keytail with defects of this package.
func TestEachCacheFollowsItsDatabase(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			ttl := time.Duration(0)
			if k.TTL > 0 {
				ttl = 300 * time.Millisecond
			}
			f := start(t, k, ttl)
			f.mustBecome(apikey.NotFound)
			f.create()
			f.mustBecome(apikey.Valid)
			f.revoke()
			f.mustBecome(apikey.Disabled)
			if _, err := f.keys.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: "k"}}); err != nil {
				t.Fatal(err)
			}
			f.mustBecome(apikey.NotFound)
		})
	}
}

// TestEachCacheIsACache: a key that was read is answered without the database.
func TestEachCacheIsACache(t *testing.T) {
	for _, k := range Kinds() {
		f := start(t, k, 0)
		f.create()
		mongotest.Eventually(t, soon, func() bool {
			if f.source() != apikey.SourceCache {
				return false
			}
			f.server.Node.BlackHole("cache")
			defer f.server.Node.Heal()
			return f.source() == apikey.SourceCache // not if the cache has cleared itself just before
		}, k.Name, " never answers from the cache without a database")
	}
}

// TestBoundedEntries: a new hash takes the place of another one when all places are taken; one that is stored again keeps its own.
func TestBoundedEntries(t *testing.T) {
	const size = 3
	e := newEntries(time.Minute)
	for i := range 2 * size {
		e.putWithin(apikey.Hash{byte(i)}, nil, size)
		e.putWithin(apikey.Hash{byte(i)}, nil, size)
		if n := len(e.byHash); n != min(i+1, size) {
			t.Errorf("%d entries after %d hashes, want %d", n, i+1, min(i+1, size))
		}
		if _, ok := e.get(apikey.Hash{byte(i)}); !ok {
			t.Errorf("the newest entry of %d is not there", i+1)
		}
	}
}
