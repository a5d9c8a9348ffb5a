package validator

import (
	"context"
	"sync"
)

// group shares work between callers that ask for the same thing, by one rule: a
// caller gets the result of a flight that began after it arrived. So a flight is
// as good to each of its callers as work that the caller had done alone.
//
// A caller that finds no flight under way begins one. One that finds a flight
// waits for the next, which begins when that one ends and which all who came
// meanwhile share. So there is one flight at a time for each key, and a caller
// waits for less than two. (singleflight.Group lets a caller join what is under
// way already; Forget would let flights of one key pile up.)
type group[K comparable, V any] struct {
	// run does the work. It is called on a goroutine of the flight's own and
	// must end by itself: no caller's leaving ends it.
	run func(K) (V, error)

	mutex sync.Mutex
	// flights maps a key to its flight that has begun and not ended.
	flights map[K]*flight[V]
}

// flight is one run, under way or still to begin.
type flight[V any] struct {
	// done is closed when value and err stand.
	done  chan struct{}
	value V
	err   error

	// waiting counts the callers of a flight that has not begun. Guarded by the
	// group's mutex, as is next.
	waiting int
	// next begins when this one ends. Nil: nobody has come since this one began.
	next *flight[V]
}

func newGroup[K comparable, V any](run func(K) (V, error)) *group[K, V] {
	return &group[K, V]{run: run, flights: map[K]*flight[V]{}}
}

// do returns what a run that begins after this call finds, or ctx's error as
// soon as ctx ends.
func (g *group[K, V]) do(ctx context.Context, key K) (V, error) {
	f := g.join(key)
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		g.leave(f)
		var none V
		return none, ctx.Err()
	}
}

// join finds the flight whose result its caller may have.
func (g *group[K, V]) join(key K) *flight[V] {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	current := g.flights[key]
	if current == nil {
		f := &flight[V]{done: make(chan struct{})}
		g.flights[key] = f
		go g.fly(key, f)
		return f
	}
	if current.next == nil {
		current.next = &flight[V]{done: make(chan struct{})}
	}
	current.next.waiting++
	return current.next
}

func (g *group[K, V]) leave(f *flight[V]) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	f.waiting--
}

// fly runs a flight, and after it those that callers wait for by then.
func (g *group[K, V]) fly(key K, f *flight[V]) {
	for f != nil {
		f.value, f.err = g.run(key)
		close(f.done)
		f = g.land(key, f)
	}
}

// land ends a flight and names the one that begins now. From here on a caller
// finds that one under way, and no longer joins it. A flight that all have left
// does not begin: so no goroutine outlives its callers by more than one run.
func (g *group[K, V]) land(key K, f *flight[V]) *flight[V] {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if f.next == nil || f.next.waiting == 0 {
		delete(g.flights, key)
		return nil
	}
	g.flights[key] = f.next
	return f.next
}
