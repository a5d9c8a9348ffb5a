package soak

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/nemesis"
)

// recordedQuiet is the number of quiet keys whose answers are checked in every respect: of
// the others, only the code.
const recordedQuiet = 200

// key is a key that clients validate. Its id is its name in the history.
type key struct{ id, text string }

// keys are the keys of a run.
type keys struct {
	history *nemesis.History
	// quiet keys are always valid.
	quiet []key

	mutex sync.Mutex
	// asked are keys that writers create, change and end.
	asked []key
}

// insertQuiet fills the collection with n keys that nobody changes.
func insertQuiet(ctx context.Context, collection *mongo.Collection, history *nemesis.History, n int) ([]key, error) {
	sent := time.Now()
	all := make([]key, n)
	documents := make([]any, n)
	for i := range all {
		text, err := apikey.Generate(apikey.DefaultPrefix, rand.Reader)
		if err != nil {
			return nil, err
		}
		all[i] = key{fmt.Sprintf("quiet-%06d", i), text}
		documents[i] = bson.D{
			{Key: "_id", Value: all[i].id},
			{Key: "key_hash", Value: apikey.HashOf(text).Hex()},
			{Key: "user_id", Value: "soak"},
			{Key: "name", Value: "quiet"},
			{Key: "scopes", Value: bson.A{"orders:read"}},
			{Key: "is_active", Value: true},
			{Key: "created_at", Value: sent},
		}
	}
	const batch = 2000
	for first := 0; first < n; first += batch {
		if _, err := collection.InsertMany(ctx, documents[first:min(n, first+batch)], options.InsertMany().SetOrdered(false)); err != nil {
			return nil, err
		}
	}
	for _, k := range all[:min(n, recordedQuiet)] {
		history.AddWrite(k.id, apikey.Valid, sent)(time.Now())
	}
	return all, nil
}

// recorded returns a key whose answers are checked in every respect.
func (k *keys) recorded(random *mathrand.Rand) key {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.asked) == 0 || random.IntN(5) == 0 {
		return k.quiet[random.IntN(min(len(k.quiet), recordedQuiet))]
	}
	return k.asked[random.IntN(len(k.asked))]
}

func (k *keys) add(one key) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.asked = append(k.asked, one)
}

func (k *keys) remove(one key) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for i := range k.asked {
		if k.asked[i] == one {
			k.asked[i] = k.asked[len(k.asked)-1]
			k.asked = k.asked[:len(k.asked)-1]
			return
		}
	}
}
