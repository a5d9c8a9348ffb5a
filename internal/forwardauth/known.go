package forwardauth

import (
	"sync"
	"sync/atomic"
)

// mostKnown bounds how many questions are remembered: a proxy's configuration has a
// few, one for each kind of route.
const mostKnown = 256

// questions remembers what was read from a query, for the next request with the
// same one. The zero value remembers nothing. When it is full it stays as it is:
// whoever sends other queries has them read each time.
//
// No key is in it: it is not used where a query may hold one, and a query that holds
// anything but requirements cannot be read.
type questions struct {
	byQuery sync.Map // string to Question, whose content is only read
	count   atomic.Int64
}

func (k *questions) get(raw string) (Question, bool) {
	known, ok := k.byQuery.Load(raw)
	if !ok {
		return Question{}, false
	}
	return known.(Question), true
}

func (k *questions) put(raw string, q Question) {
	if k.count.Load() >= mostKnown || k.count.Add(1) > mostKnown {
		return
	}
	k.byQuery.Store(raw, q)
}
