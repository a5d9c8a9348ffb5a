package nemesis

import (
	"context"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// arraySlots is the number of documents whose hash becomes an array, arrayTurns the
	// number of writes to them.
	arraySlots, arrayTurns = 6, 40
	arrayPace              = 30 * time.Millisecond
)

// hashValue is a possible value of the hash field of a slot's document. MongoDB finds a
// document by each element of an array, so each of these keys is DISABLED
// (docs/adopt-your-collection.md), and the others are unknown.
type hashValue struct {
	// has reports for each of the slot's two keys whether the value contains its hash.
	has [2]bool
	// array reports whether the value is an array.
	array bool
	// change returns the update that writes the value. It gets the two hashes, and a
	// text that no other document has, because the index is unique for each element.
	change func(hashes [2]string, text string) bson.D
}

func setHash(field string, value any) bson.D {
	return bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}}
}

var hashValues = []hashValue{
	{[2]bool{true, true}, true, func(h [2]string, _ string) bson.D { return setHash("key_hash", bson.A{h[0], h[1]}) }},
	{[2]bool{true, false}, true, func(h [2]string, _ string) bson.D { return setHash("key_hash", bson.A{h[0]}) }},
	{[2]bool{false, true}, true, func(h [2]string, text string) bson.D { return setHash("key_hash", bson.A{h[1], text}) }},
	{[2]bool{}, true, func(_ [2]string, text string) bson.D { return setHash("key_hash", bson.A{text}) }},
	{[2]bool{}, false, func([2]string, string) bson.D {
		return bson.D{{Key: "$unset", Value: bson.D{{Key: "key_hash", Value: ""}}}}
	}},
}

// arrays replaces some keys' hashes by arrays, with events that contain the whole array
// or only an element, and then restores the keys. The writers pause meanwhile.
func (a *testbed) arrays(load *workload, random *rand.Rand) func() (repair func()) {
	return func() func() {
		slots := load.settledSlots(random, arraySlots)
		for turn := range arrayTurns {
			if len(slots) == 0 {
				break
			}
			if turn == arrayTurns/2 && a.forget != nil {
				a.forget() // a scan reads these documents
			}
			a.arrayTurn(load, slots[random.IntN(len(slots))], random)
			pause(arrayPace)
		}
		return func() {
			for _, s := range slots {
				hash := apikey.HashOf(s.subjects[s.current].text).Hex()
				to := [2]apikey.Code{apikey.NotFound, apikey.NotFound}
				to[s.current] = s.state
				a.writeHash(load, s, to, setHash("key_hash", hash))
			}
		}
	}
}

// settledSlots returns some slots with a document whose state only a write changes.
func (a *workload) settledSlots(random *rand.Rand, most int) []*slot {
	var slots []*slot
	for _, i := range random.Perm(len(a.slots)) {
		s := a.slots[i]
		if !s.subjects[0].quiet && !s.retired && s.certain && s.expires.IsZero() && s.state != apikey.NotFound {
			slots = append(slots, s)
		}
		if len(slots) == most {
			break
		}
	}
	return slots
}

func (a *testbed) arrayTurn(load *workload, s *slot, random *rand.Rand) {
	hashes := [2]string{apikey.HashOf(s.subjects[0].text).Hex(), apikey.HashOf(s.subjects[1].text).Hex()}
	state := func(has [2]bool) (to [2]apikey.Code) {
		for i := range to {
			to[i] = apikey.NotFound
			if has[i] {
				to[i] = apikey.Disabled
			}
		}
		return to
	}
	text := "text of " + s.id(s.generation)
	v := hashValues[random.IntN(len(hashValues))]
	a.writeHash(load, s, state(v.has), v.change(hashes, text))
	if v.has == [2]bool{true, true} {
		// The event contains one element and its index, and no other element.
		a.writeHash(load, s, state([2]bool{true, false}), setHash("key_hash.1", text))
		a.writeHash(load, s, state([2]bool{false, true}), setHash("key_hash.0", hashes[1]))
		return
	}
	if v.has == [2]bool{} && v.array {
		// No event has contained this hash for a while.
		has := [2]bool{}
		i := random.IntN(2)
		has[i] = true
		a.writeHash(load, s, state(has), setHash("key_hash.0", hashes[i]))
	}
}

// writeHash makes a write, and records the new state of the slot's two keys.
func (a *testbed) writeHash(load *workload, s *slot, to [2]apikey.Code, change bson.D) {
	sent := time.Now()
	var acks []func(time.Time)
	for i, subject := range s.subjects {
		acks = append(acks, load.history.AddWrite(subject.label, to[i], sent))
	}
	load.touch(s.subjects[:])
	a.repeat("writing an array of hashes", func(ctx context.Context) error {
		_, err := a.keys.UpdateByID(ctx, s.id(s.generation), change)
		return err
	})
	acknowledge(acks)
}
