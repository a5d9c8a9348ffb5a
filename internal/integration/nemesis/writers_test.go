package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keystore"
)

// write changes random slots, so slowly that most of them stay unchanged for seconds: the
// next write would hide a lost one.
func (a *workload) write(ctx context.Context, number uint64, slots []*slot) {
	random := rand.New(rand.NewPCG(a.seed, 1+number))
	pace := time.NewTicker(writePace)
	defer pace.Stop()
	for ctx.Err() == nil {
		a.pauseWriters.RLock()
		a.turn(ctx, random, slots)
		a.pauseWriters.RUnlock()
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
}

// turn makes one write. It prefers a slot of unknown state, because no answer about such
// a slot is a violation.
func (a *workload) turn(ctx context.Context, random *rand.Rand, slots []*slot) {
	if i := slices.IndexFunc(slots, func(s *slot) bool { return !s.certain }); i >= 0 {
		a.settle(ctx, slots[i])
		return
	}
	i := random.IntN(len(slots))
	if random.IntN(4) == 0 {
		i = random.IntN(nemesisHot)
	}
	a.change(ctx, random, slots, i)
	if slots[i].retired {
		a.replaceRetired(slots, i)
	}
}

func (a *workload) replaceRetired(slots []*slot, i int) {
	fresh := a.newSlot(false)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	slots[i] = fresh
	a.slots = append(a.slots, fresh)
}

// change does one write to a slot.
func (a *workload) change(ctx context.Context, random *rand.Rand, slots []*slot, i int) {
	s := slots[i]
	if s.state == apikey.NotFound {
		// The same hash returns in the same document, or in another one.
		a.create(ctx, s, random.IntN(2), s.generation+random.IntN(2))
		return
	}
	target, current := s.condition, s.current
	switch what := random.IntN(100); {
	case what < 12:
		a.remove(ctx, s)
		return
	case what < 26:
		current = 1 - current
	case what < 32:
		a.rotate(ctx, random, slots, s)
		return
	case s.now() == apikey.Valid && what < 44:
		a.watchSwitchOff(ctx, random, s.subjects[s.current])
		a.switchOff(ctx, random, s)
		return
	case s.now() != apikey.Valid && what < 75:
		target = condition{state: apikey.Valid}
	default:
		target = anyCondition(random)
	}
	a.update(ctx, s, target, current, random.IntN(8) == 0)
}

// switchOff switches a key off, alone or beside another write, without a pause in between: then the
// event that says that the key is off does not say what else has happened to it.
func (a *workload) switchOff(ctx context.Context, random *rand.Rand, s *slot) {
	off, other := condition{state: apikey.Disabled}, 1-s.current
	switch random.IntN(5) {
	case 0:
		a.update(ctx, s, off, s.current, false)
	case 1:
		a.update(ctx, s, off, other, false)
	case 2:
		a.update(ctx, s, s.condition, other, false)
		if s.certain {
			a.update(ctx, s, off, s.current, false)
		}
	case 3:
		a.update(ctx, s, off, s.current, false)
		if s.certain {
			a.update(ctx, s, condition{state: apikey.Valid}, []int{s.current, other}[random.IntN(2)], false)
		}
	default:
		a.update(ctx, s, off, s.current, false)
		if s.certain {
			a.remove(ctx, s)
		}
	}
}

// anyCondition returns a random condition, usually one that is not VALID.
func anyCondition(random *rand.Rand) condition {
	states := []apikey.Code{apikey.Disabled, apikey.Disabled, apikey.Disabled, apikey.Expired, apikey.Forbidden, apikey.InsufficientPermissions, apikey.Valid, apikey.Valid}
	c := condition{state: states[random.IntN(len(states))]}
	if c.state == apikey.Valid && random.IntN(2) == 0 {
		return expiringSoon(random)
	}
	return c
}

// expiringSoon is as exact as a date in a document can be.
func expiringSoon(random *rand.Rand) condition {
	ahead := time.Duration(random.Int64N(int64(longestExpiry)))
	return condition{apikey.Valid, time.Now().Add(ahead).Round(0).Truncate(time.Millisecond)}
}

// rotate makes a new key and lets the old one work for a little longer.
func (a *workload) rotate(ctx context.Context, random *rand.Rand, slots []*slot, old *slot) {
	if i := slices.IndexFunc(slots, func(s *slot) bool { return s.state == apikey.NotFound }); i >= 0 {
		a.create(ctx, slots[i], random.IntN(2), slots[i].generation+1)
		if slots[i].retired {
			a.replaceRetired(slots, i)
		}
	}
	a.update(ctx, old, expiringSoon(random), old.current, false)
}

// fieldsOf returns the fields of a document in this condition. Nil: the field is absent.
func fieldsOf(c condition) bson.D {
	var expires, org any
	scopes := bson.A{"read"}
	switch c.state {
	case apikey.Expired:
		expires = time.Now().Add(-time.Hour)
	case apikey.Forbidden:
		org = "another"
	case apikey.InsufficientPermissions:
		scopes = bson.A{"write"}
	default:
	}
	if !c.expires.IsZero() {
		expires = c.expires
	}
	return bson.D{
		{Key: "is_active", Value: c.state != apikey.Disabled},
		{Key: "expires_at", Value: expires},
		{Key: "org_id", Value: org},
		{Key: "scopes", Value: scopes},
	}
}

func (s *slot) id(generation int) string { return fmt.Sprintf("doc-%d-%d", s.number, generation) }

// fenceField contains the version. keytail ignores updates that change only this field;
// settle relies on that.
const fenceField = "usage_count"

// document returns the slot's document in its current condition.
func (s *slot) document() bson.D {
	fields := fieldsOf(s.condition)
	document := slices.DeleteFunc(testkit.Document(s.id(s.generation), s.subjects[s.current].text), func(e bson.E) bool { return e.Key == "is_active" || e.Key == "scopes" })
	document = append(document, bson.E{Key: fenceField, Value: s.version})
	return append(document, slices.DeleteFunc(fields, func(e bson.E) bool { return e.Value == nil })...)
}

// fence is the filter that matches the document if its version is older than this write.
func (s *slot) fence() bson.D {
	return bson.D{{Key: "_id", Value: s.id(s.generation)}, {Key: fenceField, Value: bson.D{{Key: "$lt", Value: s.version}}}}
}

// record records a write that is about to be sent. The returned function records whether
// it was acknowledged.
func (a *workload) record(s *slot, to condition, current int) func(acknowledged bool) {
	s.version++
	sent := time.Now()
	touched := []subject{s.subjects[current]}
	acks := []func(time.Time){a.history.AddExpiringWrite(s.subjects[current].label, to.state, sent, to.expires)}
	if current != s.current || !s.certain {
		touched = append(touched, s.subjects[1-current])
		acks = append(acks, a.history.AddWrite(s.subjects[1-current].label, apikey.NotFound, sent))
	}
	a.touch(touched)
	s.condition, s.current = to, current
	return func(acknowledged bool) {
		s.certain = acknowledged
		if now := time.Now(); acknowledged {
			for _, acked := range acks {
				acked(now)
			}
		}
	}
}

// touch adds subjects to the recently written ones.
func (a *workload) touch(subjects []subject) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if subjects[0].quiet {
		return
	}
	a.recent = append(a.recent, subjects...)
	a.recent = a.recent[max(0, len(a.recent)-recentSubjects):]
}

// create inserts a document, and reports whether the outcome of the write is known.
func (a *workload) create(ctx context.Context, s *slot, current, generation int) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	s.generation = generation
	done := a.record(s, condition{state: apikey.Valid}, current)
	_, err := s.keys.InsertOne(ctx, s.document())
	done(err == nil)
	s.retired = err != nil
	return err == nil
}

func (a *workload) remove(ctx context.Context, s *slot) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	done := a.record(s, condition{state: apikey.NotFound}, s.current)
	result, err := s.keys.DeleteOne(ctx, s.fence())
	done(err == nil && result.DeletedCount == 1)
}

func (a *workload) update(ctx context.Context, s *slot, to condition, current int, replace bool) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	change := s.difference(to, current)
	done := a.record(s, to, current)
	var result *mongo.UpdateResult
	var err error
	if replace {
		result, err = s.keys.ReplaceOne(ctx, s.fence(), s.document())
	} else {
		change[0].Value = append(change[0].Value.(bson.D), bson.E{Key: fenceField, Value: s.version})
		result, err = s.keys.UpdateOne(ctx, s.fence(), change)
	}
	done(err == nil && result.MatchedCount == 1)
}

// difference returns the smallest update, so that not every event contains the hash.
func (s *slot) difference(to condition, current int) bson.D {
	set, unset := bson.D{}, bson.D{}
	old := fieldsOf(s.condition)
	for i, e := range fieldsOf(to) {
		switch {
		case fmt.Sprint(e.Value) == fmt.Sprint(old[i].Value):
		case e.Value == nil:
			unset = append(unset, bson.E{Key: e.Key, Value: ""})
		default:
			set = append(set, e)
		}
	}
	if current != s.current {
		set = append(set, bson.E{Key: "key_hash", Value: apikey.HashOf(s.subjects[current].text).Hex()})
	}
	change := bson.D{{Key: "$set", Value: set}}
	if len(unset) > 0 {
		change = append(change, bson.E{Key: "$unset", Value: unset})
	}
	return change
}

// settle determines the result of a write of unknown outcome. It fences with a write that
// does not change the key, and that no instance receives, so it does not hide a wrong
// answer about the other write.
func (a *workload) settle(ctx context.Context, s *slot) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	s.version++
	sent := time.Now()
	if _, err := s.keys.UpdateOne(ctx, s.fence(), bson.D{{Key: "$set", Value: bson.D{{Key: fenceField, Value: s.version}}}}); err != nil {
		return
	}
	raw, err := s.keys.FindOne(ctx, bson.D{{Key: "_id", Value: s.id(s.generation)}}).Raw()
	found := condition{state: apikey.NotFound}
	current := s.current
	switch {
	case err == nil:
		if version, _ := raw.Lookup(fenceField).AsInt64OK(); version != int64(s.version) {
			return
		}
		document := keystore.DefaultSchema().Decode(raw)
		if document.Hash == apikey.HashOf(s.subjects[1-current].text) {
			current = 1 - current
		}
		found = conditionOf(&document.Record)
	case !errors.Is(err, mongo.ErrNoDocuments):
		return
	}
	for _, acked := range []func(time.Time){
		a.history.AddExpiringWrite(s.subjects[current].label, found.state, sent, found.expires),
		a.history.AddWrite(s.subjects[1-current].label, apikey.NotFound, sent),
	} {
		acked(time.Now())
	}
	s.condition, s.current, s.certain = found, current, true
}

// conditionOf returns the condition of a document that was read.
func conditionOf(record *apikey.Record) condition {
	// Long ago: a later time is a real expiry.
	c := condition{state: apikey.Decide(record, everyRequest(), time.Unix(0, 0))}
	if c.state != apikey.Valid || record.ExpiresAt.IsZero() {
		return c
	}
	if record.ExpiresAt.Before(time.Now().Add(-time.Minute)) {
		return condition{state: apikey.Expired}
	}
	return condition{apikey.Valid, record.ExpiresAt.Round(0)}
}
