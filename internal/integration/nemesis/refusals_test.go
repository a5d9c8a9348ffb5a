package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

const (
	// refusalPace is the time between two requests for a key that is being switched off: shorter than
	// a read of its document. Only before that read has ended does the event answer.
	refusalPace = 200 * time.Microsecond
	// refusalTimeout is how long such requests go on.
	refusalTimeout = time.Second
)

// askUntilRefused validates a key that is about to be switched off, until an answer is not VALID: that
// one often comes from the event of the update. It records this answer and the last one before it.
func (a *workload) askUntilRefused(ctx context.Context, name string, instance validator, s subject) {
	ctx, cancel := context.WithTimeout(ctx, refusalTimeout)
	defer cancel()
	pace := time.NewTicker(refusalPace)
	defer pace.Stop()
	last := validate(ctx, name, instance, s)
	for ctx.Err() == nil && last.Code == apikey.Valid {
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
		answer := validate(ctx, name, instance, s)
		if answer.Code != apikey.Valid {
			a.history.AddAnswer(last)
		}
		last = answer
	}
	a.history.AddAnswer(last)
}

// watchSwitchOff requests a key from one of the instances while its writer switches it off.
func (a *workload) watchSwitchOff(ctx context.Context, random *rand.Rand, s subject) {
	i := random.IntN(len(a.validators))
	a.writers.Go(func() { a.askUntilRefused(ctx, instanceName(i), a.validators[i], s) })
}

// mustRefuseByEvents switches a key off and on until each instance has answered it from the event of
// such an update. So a run in which none does fails, however short it is. There must be no fault.
func (a *testbed) mustRefuseByEvents(load *workload) {
	a.t.Helper()
	s := load.newSlot(false)
	must := func(what string) {
		a.t.Helper()
		if !s.certain {
			a.t.Fatalf("cannot %s a key without any fault", what)
		}
	}
	load.create(a.t.Context(), s, 0, s.generation)
	must("create")
	before, began, rounds := a.eventRefusals(), time.Now(), 0
	missing := slices.Clone(a.instances)
	mongotest.Eventually(a.t, testkit.WaitTimeout, func() bool {
		rounds++
		a.mustSettle(s.subjects[0])
		var group sync.WaitGroup
		for _, i := range missing {
			group.Go(func() { load.askUntilRefused(a.t.Context(), i.name, i, s.subjects[0]) })
		}
		load.update(a.t.Context(), s, condition{state: apikey.Disabled}, 0, false)
		must("switch off")
		group.Wait()
		now := a.eventRefusals()
		missing = slices.DeleteFunc(missing, func(i *instance) bool { return now[i.name] > before[i.name] })
		if len(missing) == 0 {
			return true
		}
		load.update(a.t.Context(), s, condition{state: apikey.Valid}, 0, false)
		must("switch on")
		return false
	}, "not every instance answers from the event of an update: it is not used. Missing: ", lazyText(func() any { return names(missing) }))
	load.remove(a.t.Context(), s)
	must("remove")
	a.t.Logf("each instance has answered from the event of an update after %v (%d updates)", time.Since(began).Round(time.Millisecond), rounds)
}

// mustSettle waits until every instance has the key in its cache, and has been fresh since: an entry
// that may have been read ahead of the stream waits for a read (internal/keycache/DESIGN.md, "A refusal from the event").
func (a *testbed) mustSettle(s subject) {
	a.t.Helper()
	cached := make([]time.Time, len(a.instances))
	mongotest.Eventually(a.t, testkit.WaitTimeout, func() bool {
		settled := true
		for n, i := range a.instances {
			answer := validate(context.Background(), i.name, i, s)
			switch {
			case answer.Code != apikey.Valid || !answer.Cached:
				cached[n] = time.Time{}
			case cached[n].IsZero():
				cached[n] = answer.Given
			}
			settled = settled && !cached[n].IsZero() && answer.AsOf.After(cached[n])
		}
		return settled
	}, "a key without writes is not cached by every instance")
}

// eventRefusals is how many answers of each instance came from the event of an update.
func (a *testbed) eventRefusals() map[string]float64 {
	count := map[string]float64{}
	for _, i := range a.instances {
		count[i.name] = testkit.Metric(a.t, i.keytail.registry, "keytail_event_refusals_total")
	}
	return count
}

func names(instances []*instance) string {
	var list []string
	for _, i := range instances {
		list = append(list, i.name)
	}
	return fmt.Sprint(list)
}
