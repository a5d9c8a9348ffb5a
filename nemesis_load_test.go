package keytail_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/nemesis"
)

// The load's sizes. It stays well below what two busy cores can do with the race
// detector, so that what is late is late because of a fault.
const (
	nemesisSlots   = 160
	nemesisQuiet   = 16
	nemesisGarbage = 8
	nemesisWriters = 4
	writePace      = 60 * time.Millisecond
	nemesisCallers = 4 // of each instance
	callPace       = 8 * time.Millisecond
	callTimeout    = 4 * time.Second
	writeTimeout   = 2 * time.Second
)

// asker answers for keys, as a Service does.
type asker interface {
	Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict
}

// subject is a key text that is asked about. Its label is its name in the
// history.
type subject struct {
	label, text string
	quiet       bool
}

// slot is a place for one document at a time, which has one of two key texts.
// One writer owns it.
type slot struct {
	subjects [2]subject
	number   int
	// generation is part of the document's _id.
	generation int
	// version fences: no write takes effect on a newer one.
	version int
	// The document is in this state (NotFound: there is none) with the text of
	// this number, if certain. If not, it may be in that of an earlier write.
	state   apikey.Code
	current int
	certain bool
}

// assault is clients that know nothing of keytail, and callers of instances that
// do, with all that they see.
type assault struct {
	keys    *mongo.Collection
	history *nemesis.History
	seed    uint64

	mutex    sync.RWMutex
	subjects []subject
	quiet    []subject
	numbers  int

	writers, callers sync.WaitGroup
	endWriters       context.CancelFunc
	endCallers       context.CancelFunc
}

// startAssault fills the collection, and begins to write and to ask.
func startAssault(t *testing.T, keys *mongo.Collection, seed uint64, askers []asker) *assault {
	t.Helper()
	a := &assault{keys: keys, history: nemesis.NewHistory(), seed: seed}
	var writing, calling context.Context
	writing, a.endWriters = context.WithCancel(context.Background())
	calling, a.endCallers = context.WithCancel(context.Background())
	t.Cleanup(a.stop)
	for range nemesisQuiet {
		s := a.newSlot(true)
		a.mustCreate(t, s)
	}
	for range nemesisGarbage {
		a.subjects = append(a.subjects, newSubject("nobody's", false))
	}
	slots := make([]*slot, nemesisSlots)
	for i := range slots {
		slots[i] = a.newSlot(false)
		a.mustCreate(t, slots[i])
	}
	for i := range nemesisWriters {
		mine := slots[i*nemesisSlots/nemesisWriters : (i+1)*nemesisSlots/nemesisWriters]
		a.writers.Go(func() { a.write(writing, uint64(i), mine) })
	}
	for i, instance := range askers {
		for j := range nemesisCallers {
			// One of them asks about quiet keys alone, so that it is not held up.
			random := rand.New(rand.NewPCG(seed, uint64(1000+100*i+j)))
			a.callers.Go(func() { a.ask(calling, random, instanceName(i), instance, j == 0) })
		}
	}
	return a
}

func instanceName(i int) string { return fmt.Sprint("instance-", i) }

func (a *assault) stopWriters() {
	a.endWriters()
	a.writers.Wait()
}

func (a *assault) stop() {
	a.stopWriters()
	a.endCallers()
	a.callers.Wait()
}

func newSubject(label string, quiet bool) subject {
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		panic(err)
	}
	return subject{label: label, text: text, quiet: quiet}
}

func (a *assault) newSlot(quiet bool) *slot {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.numbers++
	s := &slot{number: a.numbers, state: apikey.NotFound, certain: true}
	for i := range s.subjects {
		s.subjects[i] = newSubject(fmt.Sprintf("key-%d%c", s.number, 'a'+i), quiet)
	}
	if quiet {
		a.quiet = append(a.quiet, s.subjects[0])
		return s
	}
	a.subjects = append(a.subjects, s.subjects[:]...)
	return s
}

func (a *assault) mustCreate(t *testing.T, s *slot) {
	t.Helper()
	if !a.create(t.Context(), s, 0, s.generation) {
		t.Fatal("a key cannot be created")
	}
}

// write changes its slots at random, at a pace that leaves most of them alone
// for seconds: what was lost would be covered by the next write.
func (a *assault) write(ctx context.Context, number uint64, slots []*slot) {
	random := rand.New(rand.NewPCG(a.seed, 1+number))
	pace := time.NewTicker(writePace)
	defer pace.Stop()
	for ctx.Err() == nil {
		i := random.IntN(len(slots))
		if retired := a.change(ctx, random, slots[i]); retired {
			slots[i] = a.newSlot(false)
		}
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
}

// change does one write to a slot. A creation of unknown outcome cannot be
// fenced, so the slot is retired then, and left as it is for ever.
func (a *assault) change(ctx context.Context, random *rand.Rand, s *slot) (retired bool) {
	if s.state == apikey.NotFound {
		if !s.certain {
			a.remove(ctx, s)
			return false
		}
		// The same hash comes back in the same document, or in another one.
		return !a.create(ctx, s, random.IntN(2), s.generation+random.IntN(2))
	}
	target, current := s.state, s.current
	switch what := random.IntN(100); {
	case what < 12:
		a.remove(ctx, s)
		return false
	case what < 26:
		current = 1 - current
	case s.state != apikey.Valid && what < 75:
		target = apikey.Valid
	default:
		others := []apikey.Code{apikey.Disabled, apikey.Disabled, apikey.Disabled, apikey.Expired, apikey.Forbidden, apikey.InsufficientPermissions, apikey.Valid}
		target = others[random.IntN(len(others))]
	}
	a.update(ctx, s, target, current, random.IntN(8) == 0)
	return false
}

// fieldsOf are those that make a document's state. Absent ones are nil.
func fieldsOf(state apikey.Code) bson.D {
	var expires, org any
	scopes := bson.A{"read"}
	switch state {
	case apikey.Expired:
		expires = time.Now().Add(-time.Hour)
	case apikey.Forbidden:
		org = "another"
	case apikey.InsufficientPermissions:
		scopes = bson.A{"write"}
	default:
	}
	return bson.D{
		{Key: "is_active", Value: state != apikey.Disabled},
		{Key: "expires_at", Value: expires},
		{Key: "org_id", Value: org},
		{Key: "scopes", Value: scopes},
	}
}

func (s *slot) id(generation int) string { return fmt.Sprintf("doc-%d-%d", s.number, generation) }

func (s *slot) document(state apikey.Code, current, generation int) bson.D {
	k := key{id: s.id(generation), text: s.subjects[current].text}
	fields := fieldsOf(state)
	document := slices.DeleteFunc(k.document(), func(e bson.E) bool { return e.Key == "is_active" || e.Key == "scopes" })
	document = append(document, bson.E{Key: "v", Value: s.version})
	return append(document, slices.DeleteFunc(fields, func(e bson.E) bool { return e.Value == nil })...)
}

// fence finds the document if it is older than this write.
func (s *slot) fence() bson.D {
	return bson.D{{Key: "_id", Value: s.id(s.generation)}, {Key: "v", Value: bson.D{{Key: "$lt", Value: s.version}}}}
}

// record notes a write that is about to be sent. The function returned notes
// whether it was acknowledged.
func (a *assault) record(s *slot, state apikey.Code, current int) func(acknowledged bool) {
	s.version++
	sent := time.Now()
	acks := []func(time.Time){a.history.Wrote(s.subjects[current].label, state, sent)}
	if current != s.current || !s.certain {
		acks = append(acks, a.history.Wrote(s.subjects[1-current].label, apikey.NotFound, sent))
	}
	s.state, s.current = state, current
	return func(acknowledged bool) {
		s.certain = acknowledged
		if now := time.Now(); acknowledged {
			for _, acked := range acks {
				acked(now)
			}
		}
	}
}

// create reports whether it is certain what it has done.
func (a *assault) create(ctx context.Context, s *slot, current, generation int) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	s.generation = generation
	done := a.record(s, apikey.Valid, current)
	_, err := a.keys.InsertOne(ctx, s.document(apikey.Valid, current, generation))
	done(err == nil)
	return err == nil
}

func (a *assault) remove(ctx context.Context, s *slot) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	done := a.record(s, apikey.NotFound, s.current)
	_, err := a.keys.DeleteOne(ctx, s.fence())
	// If an earlier attempt has deleted it, it is deleted.
	done(err == nil)
}

func (a *assault) update(ctx context.Context, s *slot, state apikey.Code, current int, replace bool) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	change := s.difference(state, current)
	done := a.record(s, state, current)
	var result *mongo.UpdateResult
	var err error
	if replace {
		result, err = a.keys.ReplaceOne(ctx, s.fence(), s.document(state, current, s.generation))
	} else {
		change[0].Value = append(change[0].Value.(bson.D), bson.E{Key: "v", Value: s.version})
		result, err = a.keys.UpdateOne(ctx, s.fence(), change)
	}
	done(err == nil && result.MatchedCount == 1)
}

// difference changes as little as possible, so that not every event names the
// hash; all of it when it is not certain how the document is.
func (s *slot) difference(state apikey.Code, current int) bson.D {
	set, unset := bson.D{}, bson.D{}
	old := fieldsOf(s.state)
	for i, e := range fieldsOf(state) {
		switch {
		case s.certain && fmt.Sprint(e.Value) == fmt.Sprint(old[i].Value):
		case e.Value == nil:
			unset = append(unset, bson.E{Key: e.Key, Value: ""})
		default:
			set = append(set, e)
		}
	}
	if !s.certain || current != s.current {
		set = append(set, bson.E{Key: "key_hash", Value: apikey.HashOf(s.subjects[current].text).Hex()})
	}
	change := bson.D{{Key: "$set", Value: set}}
	if len(unset) > 0 {
		change = append(change, bson.E{Key: "$unset", Value: unset})
	}
	return change
}

// ask asks one instance about one key after another.
func (a *assault) ask(ctx context.Context, random *rand.Rand, name string, instance asker, quiet bool) {
	pace := time.NewTicker(callPace)
	defer pace.Stop()
	for ctx.Err() == nil {
		a.mutex.RLock()
		from := a.subjects
		if quiet {
			from = a.quiet
		}
		s := from[random.IntN(len(from))]
		a.mutex.RUnlock()
		a.history.Answered(question(ctx, name, instance, s))
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
}

func question(ctx context.Context, name string, instance asker, s subject) nemesis.Answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	asked := time.Now()
	v := instance.Validate(ctx, s.text, &apikey.Request{Scopes: []string{"read"}})
	return nemesis.Answer{
		Key: s.label, Code: v.Code, Asked: asked, Given: time.Now(), AsOf: v.AsOf, Staleness: v.Staleness,
		By: name, Cached: v.Source == apikey.SourceCache, Quiet: s.quiet,
	}
}
