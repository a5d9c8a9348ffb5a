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

// The load's sizes. It stays well below what two busy cores can do with the race
// detector, so that what is late is late because of a fault.
const (
	nemesisSlots   = 160
	nemesisQuiet   = 16
	nemesisUnknown = 8
	// nemesisWriters each have one write in progress at most: so many wait for a majority
	// that stands still.
	nemesisWriters = 10
	writePace      = 150 * time.Millisecond
	// nemesisHot of a writer's slots take a quarter of its writes.
	nemesisHot     = 2
	nemesisCallers = 8 // of each instance
	callPace       = 16 * time.Millisecond
	callTimeout    = 4 * time.Second
	writeTimeout   = 2 * time.Second
	// recentSubjects are those that were written last. Half of the requests are about them,
	// so that several callers validate the same key while it changes.
	recentSubjects = 40
	// longestExpiry is the longest time until a key expires that is set to expire.
	longestExpiry = 2 * time.Second
)

// unknownLabel is the name of all unknown keys.
const unknownLabel = "unknown"

// subject is a key that callers validate. Its label is its name in the history.
type subject struct {
	label, text string
	quiet       bool
}

// condition is what decides about a document: the state, and the time at which it expires
// (zero: never).
type condition struct {
	state   apikey.Code
	expires time.Time
}

// now is the state by this clock.
func (c condition) now() apikey.Code {
	if !c.expires.IsZero() && !time.Now().Before(c.expires) {
		return apikey.Expired
	}
	return c.state
}

// slot is a place for one document at a time, which has one of two key texts.
// One writer owns it.
type slot struct {
	// keys is the writer's way to the collection.
	keys     *mongo.Collection
	subjects [2]subject
	number   int
	// generation is part of the document's _id.
	generation int
	// version fences: no write takes effect on a newer one.
	version int
	// The document is in this condition (NotFound: there is none) with the text of
	// this number, if certain. If not, it may be in that of an earlier write.
	condition
	current int
	certain bool
	// retired: a creation of unknown outcome cannot be fenced, so nothing more is
	// done here.
	retired bool
}

// workload is clients that write without keytail, and callers that validate keys at the
// instances, with everything that they see.
type workload struct {
	// keys are ways to the collection, by clients of different habits.
	keys    []*mongo.Collection
	history *nemesis.History
	seed    uint64

	// pauseWriters is locked for reading by each writer while it writes, and exclusively by a
	// fault that changes the whole collection.
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
	a := &workload{keys: keys, history: nemesis.NewHistory(), seed: seed}
	var writing, calling context.Context
	writing, a.endWriters = context.WithCancel(context.Background())
	calling, a.endCallers = context.WithCancel(context.Background())
	t.Cleanup(a.stop)
	for range nemesisUnknown {
		a.subjects = append(a.subjects, newSubject(unknownLabel, false))
	}
	for i := range nemesisQuiet + nemesisSlots + syncSlots {
		a.slots = append(a.slots, a.newSlot(i < nemesisQuiet))
	}
	for _, s := range a.slots {
		if !a.create(t.Context(), s, 0, s.generation) {
			t.Fatal("a key cannot be created")
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
			// Two of them ask about quiet keys alone, so that they are not held up.
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
