package validator

import (
	"context"
	"sync"

	"github.com/keytail/keytail/internal/tracing"
)

// group shares work among callers with the same request, by one rule: a
// caller gets the result of a flight that began after the caller arrived. A
// flight is one run of the shared work. So for each of its callers, a flight is
// as good as a run that the caller had made alone.
//
// A caller that finds no flight in progress begins one. A caller that finds a
// flight waits for the next one, which begins when the current one ends, and
// which all callers that arrived meanwhile share. So there is one flight at a
// time for each key, and a caller waits for less than two. (singleflight.Group
// lets a caller join a run that is already in progress; its Forget would let
// several runs for one key accumulate.)
type group[K comparable, V any] struct {
	// run does the work. It is called on the flight's goroutine, not on that of
	// a caller, and must end without help: it does not end when callers leave. Its
	// context has the span of the caller for which the flight was begun.
	run func(context.Context, K) (V, error)
	// joined is called for a caller that shares a flight which was begun, or is to
	// begin, for another one, the first. Nil: it is not called.
	joined func(ctx, first context.Context)

	mutex sync.Mutex
	// flights maps a key to its flight that is in progress.
	flights map[K]*flight[V]
}

// flight is one run, in progress or waiting to begin.
type flight[V any] struct {
	// ctx is that of run.
	ctx context.Context //nolint:containedctx // a flight outlives the call that begins it
	// done is closed when value and err are set.
	done  chan struct{}
	value V
	err   error

	// waiting counts the callers of a flight that has not begun. The group's
	// mutex guards it and next.
	waiting int
	// next begins when this one ends. Nil: no caller has arrived since this one
	// began.
	next *flight[V]
}

func newGroup[K comparable, V any](run func(context.Context, K) (V, error), joined func(ctx, first context.Context)) *group[K, V] {
	return &group[K, V]{run: run, joined: joined, flights: map[K]*flight[V]{}}
}

// do returns the result of a run that begins after this call, or ctx's error as
// soon as ctx ends.
func (g *group[K, V]) do(ctx context.Context, key K) (V, error) {
	f := g.join(ctx, key)
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		g.leave(f)
		var none V
		return none, ctx.Err()
	}
}

// join returns the flight whose result the caller may have.
func (g *group[K, V]) join(ctx context.Context, key K) *flight[V] {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	current := g.flights[key]
	if current == nil {
		f := newFlight[V](ctx)
		g.flights[key] = f
		go g.runFlight(key, f)
		return f
	}
	if current.next == nil {
		current.next = newFlight[V](ctx)
	} else if g.joined != nil {
		g.joined(ctx, current.next.ctx)
	}
	current.next.waiting++
	return current.next
}

func newFlight[V any](ctx context.Context) *flight[V] {
	return &flight[V]{ctx: tracing.Detach(ctx), done: make(chan struct{})}
}

func (g *group[K, V]) leave(f *flight[V]) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	f.waiting--
}

// runFlight runs a flight, and after it the flights that callers wait for by then.
func (g *group[K, V]) runFlight(key K, f *flight[V]) {
	for f != nil {
		f.value, f.err = g.run(f.ctx, key)
		close(f.done)
		f = g.finishFlight(key, f)
	}
}

// finishFlight ends a flight and returns the one that begins now. From here on, callers
// find that one in progress, and no longer join it. A flight that all callers
// have left does not begin: so no goroutine outlives its callers by more than
// one run.
func (g *group[K, V]) finishFlight(key K, f *flight[V]) *flight[V] {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if f.next == nil || f.next.waiting == 0 {
		delete(g.flights, key)
		return nil
	}
	g.flights[key] = f.next
	return f.next
}
