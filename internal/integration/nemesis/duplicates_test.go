package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
)

const (
	// duplicatePairs is the number of keys that have two documents while there is no unique
	// index, and duplicateTurns the number of writes to these documents.
	duplicatePairs, duplicateTurns = 6, 40
	twinPace                       = 30 * time.Millisecond
)

// sharedHash is a slot and a second document with the same hash.
type sharedHash struct {
	slot *slot
	id   string
	// active is is_active of the slot's own document and of the duplicate.
	active [2]bool
}

// duplicates drops the unique index, and gives some keys a second document. The key must
// be DISABLED, whichever of the two is read (docs/adopt-your-collection.md). Then it
// deletes the second documents, and creates the index again. The writers pause meanwhile.
func (a *testbed) duplicates(load *workload, random *rand.Rand) func() (repair func()) {
	return func() func() {
		a.repeat("dropping the unique index", func(ctx context.Context) error {
			err := a.keys.Indexes().DropOne(ctx, "key_hash_1")
			if hasCode(err, 27) { // IndexNotFound: an earlier attempt dropped it
				return nil
			}
			return err
		})
		pairs := load.duplicatePairsOf(random)
		for _, p := range pairs {
			a.writeDuplicate(load, p, apikey.Disabled, func(ctx context.Context) error {
				return p.insert(ctx, a.keys)
			})
		}
		for turn := range duplicateTurns {
			if len(pairs) == 0 {
				break
			}
			if turn == duplicateTurns/2 && a.forget != nil {
				a.forget() // a scan reads these documents
			}
			p := pairs[random.IntN(len(pairs))]
			which := random.IntN(2)
			p.active[which] = !p.active[which]
			a.writeDuplicate(load, p, apikey.Disabled, func(ctx context.Context) error { return p.set(ctx, a.keys, which) })
			pause(twinPace)
		}
		return func() {
			for _, p := range pairs {
				a.separate(load, p)
			}
			a.make(a.keys)
		}
	}
}

// pairs are some slots whose key is VALID, or would be but for is_active, each
// with a duplicate that is active.
func (a *workload) duplicatePairsOf(random *rand.Rand) []*sharedHash {
	var pairs []*sharedHash
	for _, i := range random.Perm(len(a.slots)) {
		s := a.slots[i]
		if s.subjects[0].quiet || s.retired || !s.certain || !s.expires.IsZero() || (s.state != apikey.Valid && s.state != apikey.Disabled) {
			continue
		}
		id := fmt.Sprint("duplicate of ", s.id(s.generation))
		pairs = append(pairs, &sharedHash{slot: s, id: id, active: [2]bool{s.state == apikey.Valid, random.IntN(2) == 0}})
		if len(pairs) == duplicatePairs {
			break
		}
	}
	return pairs
}

func (p *sharedHash) insert(ctx context.Context, keys *mongo.Collection) error {
	document := testkit.Document(p.id, p.slot.subjects[p.slot.current].text)
	for i := range document {
		if document[i].Key == "is_active" {
			document[i].Value = p.active[1]
		}
	}
	_, err := keys.InsertOne(ctx, document)
	if hasCode(err, 11000) { // an earlier attempt inserted it
		return nil
	}
	return err
}

// set writes is_active of one of the two documents.
func (p *sharedHash) set(ctx context.Context, keys *mongo.Collection, which int) error {
	id := []string{p.slot.id(p.slot.generation), p.id}[which]
	_, err := keys.UpdateByID(ctx, id, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: p.active[which]}}}})
	return err
}

// writeDuplicate makes a write to one of two documents, and records the key's new state.
func (a *testbed) writeDuplicate(load *workload, p *sharedHash, to apikey.Code, write func(context.Context) error) {
	s := p.slot.subjects[p.slot.current]
	acked := load.history.AddWrite(s.label, to, time.Now())
	load.touch([]subject{s})
	a.repeat("writing to a key with two documents", write)
	acked(time.Now())
}

// separate deletes the second document.
func (a *testbed) separate(load *workload, p *sharedHash) {
	p.slot.condition = condition{state: apikey.Disabled}
	if p.active[0] {
		p.slot.state = apikey.Valid
	}
	a.writeDuplicate(load, p, p.slot.state, func(ctx context.Context) error {
		_, err := a.keys.DeleteOne(ctx, bson.D{{Key: "_id", Value: p.id}})
		return err
	})
}
