package simulation

import (
	"context"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// clients send requests, each one after the other.
	clients = 5
	// liveWithin is how long after the last fault every key must be answered from the cache again.
	liveWithin = 3 * time.Minute
)

// run starts the core, the clients and the writers: a quiet start, faults, and the return to normal.
func (w *world) run() {
	running, stopCore := context.WithCancel(w.ctx)
	stopped := w.core.run(running, w)
	defer stopped.Wait()
	defer stopCore()
	working, stopWork := context.WithCancel(w.ctx)
	defer stopWork()
	c := w.dice.next("start of the workload")
	for i := range clients {
		time.Sleep(c.between(time.Microsecond, time.Millisecond))
		w.start(func() { w.request(working, i) })
	}
	writing, stopWriting := context.WithCancel(working)
	for i := range writersCount {
		time.Sleep(c.between(time.Microsecond, time.Millisecond))
		w.start(func() { w.write(writing, i) })
	}
	sleep(w.ctx, c.between(time.Second, 3*time.Second))
	w.disturb(w.settings.faults)
	stopWriting()
	w.heal()
	if !w.hasFailed() {
		w.returnToNormal()
	}
	if n := w.core.cache.Stats().Mismatches; n > 0 {
		w.violate("%d audits found an entry that no change explains", n)
	}
}

// request sends requests until ctx ends.
func (w *world) request(ctx context.Context, client int) {
	c := w.dice.next("client " + string(rune('0'+client)))
	for number := client; sleep(ctx, c.between(time.Millisecond, 300*time.Millisecond)); number += clients {
		if w.hasFailed() {
			return
		}
		a := &answer{number: number, key: keys[c.IntN(len(keys)+3)%len(keys)]}
		a.request = apikey.Request{Scopes: []string{"read"}}
		w.chooseRevision(c, client, a)
		limited, cancel := context.WithTimeout(ctx, c.between(5*time.Millisecond, 5*time.Second))
		w.ask(limited, a)
		cancel()
		w.check(a)
	}
}

// chooseRevision chooses the revision that a request needs. Each client has a small one of its own, so that
// no two of them share a read that is not stored: which of two shares the first one would be random. Only one
// client has real ones, for the same reason.
func (w *world) chooseRevision(c chance, client int, a *answer) {
	if w.core.cache.Freshness() == nil {
		return
	}
	a.request.MinRevision = uint64(client)
	if client != 0 {
		return
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	switch n := len(w.revisions); {
	case c.in(0.02):
		a.request.MinRevision = soon + uint64(c.IntN(100))
	case n > 0 && c.in(0.6):
		a.request.MinRevision, a.reached = w.revisions[n-1-c.IntN(min(n, 3))], true
	}
}

// ask sends a request.
func (w *world) ask(ctx context.Context, a *answer) {
	a.restores, a.lost, a.asked = w.truth.restores(), !w.core.cache.Trusted() && w.core.cache.Freshness() != nil, time.Now()
	a.verdict = w.core.validator.Validate(asCaller(ctx, a.number), a.key.text, &a.request)
	a.given = time.Now()
}

// check checks an answer.
func (w *world) check(a *answer) {
	w.count(func(c *counts) {
		c.answers++
		if a.verdict.Code == apikey.Unavailable {
			c.unavailable++
		}
		if a.verdict.Source == apikey.SourceCache {
			c.fromCache++
		}
	})
	if w.tracing {
		w.trace("client: %v", a)
	}
	if wrong := w.truth.wrong(a, w.settings.maxStale); wrong != "" {
		w.violate("%v: %s", a, wrong)
	}
}

// returnToNormal waits until every key has its final answer from the cache, fresh.
func (w *world) returnToNormal() {
	healed := time.Now()
	for sleep(w.ctx, time.Second) && !w.hasFailed() {
		waiting := w.notLive()
		if waiting == nil {
			return
		}
		if time.Since(healed) > liveWithin {
			w.violate("still not live %v after the last fault: %v", liveWithin, waiting)
		}
	}
}

// notLive is an answer that is not yet what it must be in the end. Nil: there is none.
func (w *world) notLive() *answer {
	for i, k := range keys {
		a := &answer{number: i, key: k, request: apikey.Request{Scopes: []string{"read"}}}
		limited, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		w.ask(limited, a)
		cancel()
		w.check(a)
		if a.verdict.Source != apikey.SourceCache && !w.isAmbiguous(k) || a.verdict.Staleness > 2*time.Second {
			return a
		}
	}
	return nil
}

// isAmbiguous reports whether a key is never in the cache: two documents have its hash, or one has several.
func (w *world) isAmbiguous(k *key) bool {
	w.truth.mutex.Lock()
	defer w.truth.mutex.Unlock()
	documents := w.truth.states[len(w.truth.states)-1].of(k)
	return len(documents) > 1 || len(documents) == 1 && (!documents[0].HasHash || documents[0].OtherHashes != nil)
}
