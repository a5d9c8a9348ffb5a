package keystore

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/mongotest"
)

// walkRig is a collection of random keys, and what a walk over it must find.
type walkRig struct {
	*writeRig
	*rand.Rand
	inserted int
	// stay are keys of the user "u" that exist from before the first page until after
	// the last one, by their number.
	stay map[string]bool
}

// insert stores a random key and returns its number, which is its name, too.
func (w *walkRig) insert(t *testing.T, user string) string {
	t.Helper()
	w.inserted++
	n := fmt.Sprint(w.inserted)
	ids := []any{
		n, int32(w.inserted), float64(w.inserted) + 0.5, bson.NewObjectID(), made.Add(time.Duration(w.inserted) * time.Second),
		// SecantusDB does not sort binary data of different lengths as an _id as MongoDB does.
		bson.D{{Key: "n", Value: w.inserted}},
		bson.Binary{Subtype: bson.TypeBinaryUUID, Data: fmt.Appendf(nil, "%016d", w.inserted)},
		bson.Timestamp{T: uint32(w.inserted)},
	}
	second := made.Add(time.Duration(w.IntN(3)) * time.Second)
	created := []any{absent, nil, math.NaN(), second, second, second, "2026", int32(w.IntN(3)), float64(w.IntN(3)), true, oid, bson.D{}, bson.Timestamp{T: 1}, bson.Regex{Pattern: "a"}}
	doc := bson.D{}
	_ = bson.Unmarshal(document(t, bson.E{Key: "key_hash", Value: n}, bson.E{Key: "name", Value: n}, bson.E{Key: "user_id", Value: user},
		bson.E{Key: "created_at", Value: created[w.IntN(len(created))]}), &doc)
	doc = with(doc, bson.E{Key: "_id", Value: ids[w.IntN(len(ids))]})
	if _, err := w.keys.InsertOne(testContext(t), doc); err != nil {
		t.Fatal(err)
	}
	return n
}

// disturb inserts keys, and deletes one. It stops after a while, because a walk in small
// pages would never overtake the keys that are inserted after its position.
func (w *walkRig) disturb(t *testing.T, fleeting *[]string) {
	t.Helper()
	if len(*fleeting) >= 12 {
		return
	}
	*fleeting = append(*fleeting, w.insert(t, "u"), w.insert(t, "other"))
	gone := (*fleeting)[w.IntN(len(*fleeting))]
	if _, err := w.keys.DeleteOne(testContext(t), bson.D{{Key: "key_hash", Value: gone}}); err != nil {
		t.Fatal(err)
	}
}

// TestAWalkFindsEachKeyOnce, whatever the types of creation times and ids, in pages of any
// size, while other keys come and go.
func TestAWalkFindsEachKeyOnce(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		seed := rand.Uint64()
		w := &walkRig{newWriteRig(t, s), rand.New(rand.NewPCG(seed, 0)), 0, map[string]bool{}}
		for range 30 {
			w.stay[w.insert(t, "u")] = true
			w.insert(t, "other")
		}
		for round := range 8 {
			w.schema.CreatedAt = []string{"created_at", ""}[round%2]
			q := Query{UserID: []string{"u", ""}[round/2%2], IncludeInactive: true, Limit: 1 + w.IntN(9)}
			var fleeting []string
			times := map[string]int{}
			for pages := 0; ; pages++ {
				page, err := w.List(testContext(t), q)
				if err != nil || pages > 200 {
					t.Fatalf("seed %d, page %d: %v", seed, pages, err)
				}
				for _, k := range page.Keys {
					times[k.Record.Name]++
					if !strings.Contains(k.Record.UserID, q.UserID) {
						t.Errorf("seed %d: a key of %q", seed, k.Record.UserID)
					}
				}
				if q.After = page.Next; q.After == "" {
					break
				}
				w.disturb(t, &fleeting)
			}
			if _, err := w.keys.DeleteMany(testContext(t), bson.D{{Key: "key_hash", Value: bson.D{{Key: "$in", Value: fleeting}}}}); err != nil {
				t.Fatal(err)
			}
			for n := range w.stay {
				if times[n] != 1 {
					t.Errorf("seed %d, by %q, %+v: key %s was found %d times", seed, w.schema.CreatedAt, q, n, times[n])
				}
			}
			for n, found := range times {
				if found > 1 {
					t.Errorf("seed %d, by %q: key %s was found %d times", seed, w.schema.CreatedAt, n, found)
				}
			}
		}
	})
}
