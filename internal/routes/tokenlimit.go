package routes

import (
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
)

// tokenLimit bounds the requests that are in progress with one token, so that the
// callers of one token cannot keep out those of all others. Instead of a token's name it
// can count any other: a client's network, or "" for all requests together.
type tokenLimit struct {
	limit int

	mutex sync.Mutex
	// open maps the name of a token to its requests in progress. It has no zeros.
	open map[string]int
}

func newTokenLimit(limit int) *tokenLimit { return &tokenLimit{limit: limit, open: map[string]int{}} }

// limitPerToken adds the guard of a limit of its own to guards, unless the limit is zero.
func limitPerToken(limit int, guards []gin.HandlerFunc) []gin.HandlerFunc {
	if limit == 0 {
		return guards
	}
	return append(guards, newTokenLimit(limit).guard)
}

// guard refuses a request if its token has too many, and counts it until its handler
// returns.
func (l *tokenLimit) guard(c *gin.Context) {
	name := c.GetString(actorKey)
	if !l.take(name) {
		writeProblem(c, api.CodeTooManyWaiting, "this token has too many such requests already: close some, or give other services tokens of their own")
		return
	}
	defer l.release(name)
	c.Next()
}

func (l *tokenLimit) take(name string) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.open[name] >= l.limit {
		return false
	}
	l.open[name]++
	return true
}

func (l *tokenLimit) release(name string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.open[name]--; l.open[name] == 0 {
		delete(l.open, name)
	}
}
