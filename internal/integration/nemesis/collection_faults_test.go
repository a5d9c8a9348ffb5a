package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// collectionFaults returns changes of the whole collection by other clients. The writers
// pause, and the history records the new state of each key.
func (a *testbed) collectionFaults(load *workload) map[string]fault {
	database := a.keys.Database()
	elsewhere := database.Collection("elsewhere")
	random := rand.New(rand.NewPCG(load.seed, 7))
	return map[string]fault{
		"drop": a.collectionFault(load, func() func() {
			return a.endCollection(load, func(ctx context.Context) error { return a.keys.Drop(ctx) }, func() { a.recreate(load, random) })
		}),
		"drop database": a.collectionFault(load, func() func() {
			return a.endCollection(load, func(ctx context.Context) error { return database.Drop(ctx) }, func() { a.recreate(load, random) })
		}),
		"unique index dropped, duplicates": a.collectionFault(load, a.duplicates(load, random)),
		"hashes in arrays":                 a.collectionFault(load, a.arrays(load, random)),
		"rename away and back": a.collectionFault(load, func() func() {
			appeared := a.appeared.Load()
			away := func(ctx context.Context) error { return rename(ctx, a.keys, elsewhere, false) }
			return a.endCollection(load, away, func() {
				back := load.rewritten()
				a.repeat("renaming back", func(ctx context.Context) error {
					// A collection that nobody has created would be in the way: watchForCollection.
					return rename(ctx, elsewhere, a.keys, a.appeared.Load() > appeared)
				})
				back()
			})
		}),
		"rename onto": a.collectionFault(load, func() func() {
			replacement := database.Collection("replacement")
			a.make(replacement)
			acked := a.fill(load, replacement, random, anyCondition)
			a.repeat("renaming onto", func(ctx context.Context) error { return rename(ctx, replacement, a.keys, true) })
			acked()
			return func() {}
		}),
	}
}

// collectionFault returns a fault for a change during which all writers pause and every
// slot has a known state.
func (a *testbed) collectionFault(load *workload, do func() (repair func())) fault {
	return func([]*instance) func() {
		load.pauseWriters.Lock()
		done := false
		defer func() {
			if !done { // the test has failed, and its cleanup waits for the writers
				load.pauseWriters.Unlock()
			}
		}()
		a.repeat("asking the server", func(ctx context.Context) error { return a.keys.Database().Client().Ping(ctx, nil) })
		a.repeat("finding out what the keys are", load.settleAll)
		load.forgetRetired()
		repair := do()
		done = true
		return func() {
			defer load.pauseWriters.Unlock()
			repair()
		}
	}
}

// repeat runs a command until it succeeds: the last fault may have closed the connection
// of the first attempt.
func (a *testbed) repeat(what string, do func(ctx context.Context) error) {
	a.t.Helper()
	var err error
	mongotest.Eventually(a.t, testkit.WaitTimeout, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), convergence)
		defer cancel()
		err = do(ctx)
		return err == nil
	}, what, ": ", lazyText(func() any { return err }))
}

// rename can be repeated: an earlier attempt whose reply was lost may have succeeded.
func rename(ctx context.Context, from, to *mongo.Collection, onto bool) error {
	name := from.Database().Name()
	err := from.Database().Client().Database("admin").RunCommand(ctx, bson.D{
		{Key: "renameCollection", Value: name + "." + from.Name()},
		{Key: "to", Value: name + "." + to.Name()},
		{Key: "dropTarget", Value: onto},
	}).Err()
	if hasCode(err, 26) { // NamespaceNotFound
		return nil
	}
	if hasCode(err, 48) { // NamespaceExists, which secantusd checks first
		left, listErr := from.Database().ListCollectionNames(ctx, bson.D{{Key: "name", Value: from.Name()}})
		if listErr == nil && len(left) == 0 {
			return nil
		}
	}
	return err
}

func hasCode(err error, code int) bool {
	server, ok := errors.AsType[mongo.ServerError](err)
	return ok && server.HasErrorCode(code)
}

// make creates a collection for keys if it does not exist.
func (a *testbed) make(collection *mongo.Collection) {
	a.t.Helper()
	a.repeat("making "+collection.Name(), func(ctx context.Context) error {
		err := collection.Database().CreateCollection(ctx, collection.Name())
		if err != nil && !hasCode(err, 48) { // NamespaceExists
			return err
		}
		_, err = collection.Indexes().CreateOne(ctx, mongo.IndexModel{
			// Sparse, because of documents without a hash.
			Keys: bson.D{{Key: "key_hash", Value: 1}}, Options: options.Index().SetUnique(true).SetSparse(true),
		})
		return err
	})
}

// endCollection ends the collection; repair creates one again.
func (a *testbed) endCollection(load *workload, end func(context.Context) error, again func()) (repair func()) {
	// First each key is NOT_FOUND, and then, without the collection, UNAVAILABLE.
	now := time.Now()
	acks := slices.Concat(load.wrote(apikey.NotFound, now), load.wrote(apikey.Unavailable, now))
	a.repeat("ending the collection", end)
	acknowledge(acks)
	over := load.history.BeginMissingCollection()
	stop := a.watchForCollection(load, now, over)
	return func() {
		stop()
		over(time.Now())
		again()
	}
}

// watchForCollection notices that a collection that has been ended exists again although
// nobody creates it, and records that the keys may be NOT_FOUND from then on. On any
// server a write whose sender has given up can do that. SecantusDB 0.7.0b3 does it once
// in a hundred drops of a database that others read and watch meanwhile.
func (a *testbed) watchForCollection(load *workload, ended time.Time, over func(time.Time)) (stop func()) {
	ctx, cancel := context.WithCancel(a.t.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		pace := time.NewTicker(collectionPace)
		defer pace.Stop()
		for {
			names, err := a.keys.Database().ListCollectionNames(ctx, bson.D{{Key: "name", Value: a.keys.Name()}})
			if err == nil && len(names) > 0 {
				a.appeared.Add(1)
				over(ended)
				load.wrote(apikey.NotFound, ended) // it took effect at an unknown time
				a.t.Logf("the collection exists again although nobody has created it: NOT_FOUND is right from now on")
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
		}
	})
	return func() {
		cancel()
		watch.Wait()
	}
}

// collectionPace is much shorter than the second after which answers are checked.
const collectionPace = 50 * time.Millisecond

// recreate creates an empty collection, and then the documents of most slots.
func (a *testbed) recreate(load *workload, random *rand.Rand) {
	acks := load.wrote(apikey.NotFound, time.Now())
	a.make(a.keys)
	acknowledge(acks)
	for _, s := range load.slots {
		s.condition, s.certain = condition{state: apikey.NotFound}, true
	}
	a.fill(load, a.keys, random, func(*rand.Rand) condition { return condition{state: apikey.Valid} })()
}

// fill inserts documents for each quiet slot, and for most others, into an empty
// collection.
func (a *testbed) fill(load *workload, into *mongo.Collection, random *rand.Rand, which func(*rand.Rand) condition) (acked func()) {
	var documents []any
	var done []func(bool)
	for _, s := range load.slots {
		to, current := which(random), random.IntN(2)
		switch {
		case s.subjects[0].quiet:
			to, current = condition{state: apikey.Valid}, 0
		case random.IntN(4) == 0:
			to, current = condition{state: apikey.NotFound}, s.current
		}
		s.generation += random.IntN(2)
		done = append(done, load.record(s, to, current))
		if to.state != apikey.NotFound {
			documents = append(documents, s.document())
		}
	}
	a.repeat("filling "+into.Name(), func(ctx context.Context) error {
		_, err := into.InsertMany(ctx, documents, options.InsertMany().SetOrdered(false))
		if mongo.IsDuplicateKeyError(err) {
			return nil // an earlier attempt inserted them
		}
		return err
	})
	return func() {
		for _, d := range done {
			d(true)
		}
	}
}

func acknowledge(acks []func(time.Time)) {
	now := time.Now()
	for _, acked := range acks {
		acked(now)
	}
}

// settleAll settles each slot whose state is uncertain.
func (a *workload) settleAll(ctx context.Context) error {
	for _, s := range a.slots {
		if s.certain || s.retired {
			continue
		}
		if a.settle(ctx, s); !s.certain {
			return fmt.Errorf("the outcome of the last write to %s is unknown", s.id(s.generation))
		}
	}
	return nil
}

// forgetRetired ends the requests for keys of unknown state.
func (a *workload) forgetRetired() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, s := range a.slots {
		if s.retired {
			of := func(o subject) bool { return o.label == s.subjects[0].label || o.label == s.subjects[1].label }
			a.subjects, a.recent = slices.DeleteFunc(a.subjects, of), slices.DeleteFunc(a.recent, of)
		}
	}
	a.slots = slices.DeleteFunc(a.slots, func(s *slot) bool { return s.retired })
}

// labels returns the distinct labels of all keys.
func (a *workload) labels() []string {
	labels := []string{unknownLabel}
	for _, s := range a.slots {
		labels = append(labels, s.subjects[0].label, s.subjects[1].label)
	}
	return labels
}

// wrote records a write that gives all keys this state.
func (a *workload) wrote(state apikey.Code, sent time.Time) (acks []func(time.Time)) {
	for _, label := range a.labels() {
		acks = append(acks, a.history.AddWrite(label, state, sent))
	}
	return acks
}

// rewritten records that all keys get the state that they had. Meanwhile they may be
// NOT_FOUND: a reader that has found nothing checks whether the collection exists, and by
// then it does.
func (a *workload) rewritten() (acked func()) {
	sent := time.Now()
	acks := a.wrote(apikey.NotFound, sent)
	for _, s := range a.slots {
		acks = append(acks,
			a.history.AddExpiringWrite(s.subjects[s.current].label, s.state, sent, s.expires),
			a.history.AddWrite(s.subjects[1-s.current].label, apikey.NotFound, sent))
	}
	return func() { acknowledge(acks) }
}

// ballast is the number of documents that exceeds the small cache of one instance.
const (
	ballastDocuments = 120
	ballastBytes     = 14_000
)

// overfill inserts so many documents that the small cache evicts entries until the fault
// ends. Only a scan can prove that keys are absent, so a scan comes first if possible.
func (a *testbed) overfill([]*instance) func() {
	if a.forget != nil {
		a.forget()
	}
	var documents []any
	for i := range ballastDocuments {
		documents = append(documents, testkit.Document(fmt.Sprint("ballast-", i), fmt.Sprint("ballast ", i), bson.E{Key: "metadata", Value: bson.D{{Key: "pad", Value: strings.Repeat("x", ballastBytes)}}}))
	}
	a.repeat("loading ballast", func(ctx context.Context) error {
		_, err := a.keys.InsertMany(ctx, documents, options.InsertMany().SetOrdered(false))
		if mongo.IsDuplicateKeyError(err) {
			return nil
		}
		return err
	})
	return func() {
		a.repeat("throwing ballast off", func(ctx context.Context) error {
			_, err := a.keys.DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$regex", Value: "^ballast-"}}}})
			return err
		})
	}
}
