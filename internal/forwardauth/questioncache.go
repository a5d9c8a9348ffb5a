package forwardauth

import (
	"sync"
	"sync/atomic"
)

// maxQuestions bounds the cache. A proxy's configuration has a few queries, one
// for each kind of route.
const maxQuestions = 256

// questionCache maps queries to what was parsed from them. The zero value is
// empty. Once it is full it does not change: further queries are parsed each
// time.
//
// It contains no key: it is not used where a query may contain one, and a query
// with anything but requirements is an error.
type questionCache struct {
	byQuery sync.Map // string to Question, whose content is only read
	count   atomic.Int64
}

func (q *questionCache) get(raw string) (Question, bool) {
	known, ok := q.byQuery.Load(raw)
	if !ok {
		return Question{}, false
	}
	return known.(Question), true
}

func (q *questionCache) put(raw string, question Question) {
	if q.count.Load() >= maxQuestions || q.count.Add(1) > maxQuestions {
		return
	}
	q.byQuery.Store(raw, question)
}
