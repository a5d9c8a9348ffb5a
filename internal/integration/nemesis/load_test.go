package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/nemesis"
)

// The load stays well below what two busy cores can do with the race detector, so that
// only a fault makes an answer late.
const (
	nemesisSlots   = 160
	nemesisQuiet   = 16
	nemesisUnknown = 8
	// nemesisWriters each have at most one write in progress: so this many writes wait
	// while the majority does not advance.
	nemesisWriters = 10
	writePace      = 150 * time.Millisecond
	// nemesisHot of a writer's slots take a quarter of its writes.
	nemesisHot     = 2
	nemesisCallers = 8 // of each instance
	callPace       = 16 * time.Millisecond
	callTimeout    = 4 * time.Second
	writeTimeout   = 2 * time.Second
	// recentSubjects is the number of keys that were written last. Half of the requests
	// are about them, so that several callers validate the same key while it changes.
	recentSubjects = 40
	// longestExpiry is the maximum lifetime of a key that gets an expiry.
	longestExpiry = 2 * time.Second
)

// unknownLabel is the common name of all unknown keys.
const unknownLabel = "unknown"

// subject is a key that callers validate. Its label is its name in the history.
type subject struct {
	label, text string
	quiet       bool
}

// condition is the state of a document, and the time at which it expires (zero: never).
type condition struct {
	state   apikey.Code
	expires time.Time
}

// now returns the state at this time.
func (c condition) now() apikey.Code {
	if !c.expires.IsZero() && !time.Now().Before(c.expires) {
		return apikey.Expired
	}
	return c.state
}

// slot is a place for one document at a time, which has one of two key texts.
// One writer owns it.
type slot struct {
	// keys is the writer's handle of the collection.
	keys     *mongo.Collection
	subjects [2]subject
	number   int
	// generation is part of the document's _id.
	generation int
	// version is a fence: no write takes effect on a newer version.
	version int
	// If certain, the document has this condition (NotFound: there is no document) and
	// the key text of number current. Otherwise it may have those of an earlier write.
	condition
	current int
	certain bool
	// retired: the outcome of a creation is unknown and cannot be fenced, so the slot is
	// not used any more.
	retired bool
}

// workload has clients that write without keytail, callers that validate keys at the
// instances, and the history of what they see.
type workload struct {
	// keys are handles of the collection, by clients with different options.
	keys    []*mongo.Collection
	history *nemesis.History
	seed    uint64
	// validators are the instances.
	validators []validator

	// pauseWriters: each writer locks it for reading while it writes. A fault that changes
	// the whole collection locks it for writing.
	pauseWriters sync.RWMutex
	slots        []*slot

	mutex    sync.RWMutex
	subjects []subject
	quiet    []subject
	recent   []subject
	numbers  int
	// forgedUntil is when write acknowledgements of the fleet are reliable again (in Unix
	// nanoseconds), after the end of forged heartbeats.
	forgedUntil atomic.Int64

	writers, callers sync.WaitGroup
	endWriters       context.CancelFunc
	endCallers       context.CancelFunc
}

// startWorkload fills the collection, and starts writers and callers.
func startWorkload(t *testing.T, keys []*mongo.Collection, seed uint64, validators []validator) *workload {
	t.Helper()
	return startJudgedWorkload(t, keys, seed, validators, nemesisMaxStale)
}

// startJudgedWorkload is startWorkload for answers that are judged by another max_stale.
func startJudgedWorkload(t *testing.T, keys []*mongo.Collection, seed uint64, validators []validator, maxStale time.Duration) *workload {
	t.Helper()
	a := &workload{keys: keys, history: nemesis.NewHistory(), seed: seed, validators: validators}
	var writing, calling context.Context
	writing, a.endWriters = context.WithCancel(context.Background())
	calling, a.endCallers = context.WithCancel(context.Background())
	record(t, a.history, maxStale)
	t.Cleanup(a.stop)
	for range nemesisUnknown {
		a.subjects = append(a.subjects, newSubject(unknownLabel, false))
	}
	for i := range nemesisQuiet + nemesisSlots + syncSlots {
		a.slots = append(a.slots, a.newSlot(i < nemesisQuiet))
	}
	for _, s := range a.slots {
		if !a.create(t.Context(), s, 0, s.generation) {
			t.Fatal("cannot create a key")
		}
	}
	a.startUnrelatedWriter(writing)
	a.startSyncs(writing, validators)
	for i := range nemesisWriters {
		first := nemesisQuiet + i*nemesisSlots/nemesisWriters
		mine := slices.Clone(a.slots[first : first+nemesisSlots/nemesisWriters])
		a.writers.Go(func() { a.write(writing, uint64(i), mine) })
	}
	for i, instance := range validators {
		for j := range nemesisCallers {
			// Two callers validate only quiet keys, so that reads do not delay them.
			random := rand.New(rand.NewPCG(seed, uint64(1000+100*i+j)))
			a.callers.Go(func() { a.call(calling, random, instanceName(i), instance, j < 2, mayEvict(i)) })
		}
	}
	return a
}

func instanceName(i int) string { return fmt.Sprint("instance-", i) }

func (a *workload) stopWriters() {
	a.endWriters()
	a.writers.Wait()
}

func (a *workload) stop() {
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

func (a *workload) newSlot(quiet bool) *slot {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.numbers++
	s := &slot{keys: a.keys[a.numbers%len(a.keys)], number: a.numbers, condition: condition{state: apikey.NotFound}, certain: true}
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
