package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// leaverPace is the time from one leaver to the next. Each is asked for leaverAhead before it is
	// created, and revoked leaverStays later.
	leaverPace  = time.Second
	leaverAhead = time.Second
	leaverStays = 4 * time.Second
	// shortEdit and longEdit bound the time from the last edit of a leaver to a request for it, and from
	// there to its revocation. A machine that is busy needs the longer ones: the event of the edit must come
	// before the request. All are shorter than findsLate.
	shortEdit = 20 * time.Millisecond
	longEdit  = 120 * time.Millisecond
)

// startLeavers begins writers of leavers: keys that are requested before they exist, then live for some
// seconds, and are revoked for good, shortly after an edit. The other writers make most keys valid
// again within seconds, which hides that a cache still believes in them. They end with the other writers.
func (a *workload) startLeavers() {
	ctx, end := context.WithCancel(context.Background())
	endOthers := a.endWriters
	a.endWriters = func() { end(); endOthers() }
	a.writers.Go(func() {
		pace := time.NewTicker(leaverPace)
		defer pace.Stop()
		for number := 0; ctx.Err() == nil; number++ {
			a.pauseWriters.RLock()
			s := a.newSlot(false)
			a.mutex.Lock()
			a.slots = append(a.slots, s)
			a.mutex.Unlock()
			a.pauseWriters.RUnlock()
			a.writers.Go(func() { a.leave(ctx, s, number%2 == 0) })
			select {
			case <-ctx.Done():
			case <-pace.C:
			}
		}
	})
}

// leave is the life of one leaver. In the end its document is deleted, or switched off.
func (a *workload) leave(ctx context.Context, s *slot, deleted bool) {
	a.ask(ctx, s)
	created := false
	a.step(ctx, leaverAhead, func() { created = a.create(ctx, s, 0, s.generation) })
	if !created {
		return // nothing can be known about the key any more
	}
	a.ask(ctx, s)
	a.step(ctx, leaverStays, func() { a.rename(ctx, s) })
	pause(anEdit())
	a.ask(ctx, s)
	certain := false
	a.step(ctx, anEdit(), func() { certain = a.revoke(ctx, s, deleted) })
	for ctx.Err() == nil && !certain {
		a.step(ctx, writePace, func() { a.settle(ctx, s); certain = s.certain })
	}
}

// revoke makes a key invalid, and reports whether the outcome is known.
func (a *workload) revoke(ctx context.Context, s *slot, deleted bool) bool {
	switch {
	case s.state == apikey.NotFound:
	case deleted:
		a.remove(ctx, s)
	default:
		a.update(ctx, s, condition{state: apikey.Disabled}, s.current, false)
	}
	return s.certain
}

// anEdit is a random time between shortEdit and longEdit.
func anEdit() time.Duration { return shortEdit + rand.N(longEdit-shortEdit) }

// step does a write after a pause, unless the writers end before.
func (a *workload) step(ctx context.Context, after time.Duration, write func()) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(after):
	}
	a.pauseWriters.RLock()
	defer a.pauseWriters.RUnlock()
	write()
}

// ask sends a request to every instance, and does not wait for the answers.
func (a *workload) ask(ctx context.Context, s *slot) {
	for i, instance := range a.validators {
		a.callers.Go(func() { a.history.AddAnswer(validate(ctx, instanceName(i), instance, s.subjects[0])) })
	}
}

// rename changes the name of a key, which changes no answer. So it is not recorded, and if its outcome is
// unknown the next write fences it.
func (a *workload) rename(ctx context.Context, s *slot) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	s.version++
	change := bson.D{{Key: "name", Value: fmt.Sprint("leaver ", s.number)}, {Key: fenceField, Value: s.version}}
	_, _ = s.keys.UpdateOne(ctx, s.fence(), bson.D{{Key: "$set", Value: change}}) // its outcome does not matter
}
