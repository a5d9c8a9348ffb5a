package playground

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// DefaultTTL is the TTL that many services choose for keys.
const DefaultTTL = 60 * time.Second

// TTLs are those that the page offers.
func TTLs() []time.Duration { return []time.Duration{5 * time.Second, 15 * time.Second, DefaultTTL} }

// TTLCache answers as many services do: it reads a key once, and repeats the answer until
// the copy is older than the TTL. It hears of no change. It is safe for concurrent use.
type TTLCache struct {
	source Reader
	ttl    time.Duration
	now    func() time.Time

	mu sync.Mutex
	// copies maps the SHA-256 of a key's text to what was read.
	copies map[[sha256.Size]byte]copied
}

type copied struct {
	code apikey.Code
	at   time.Time
}

// NewTTLCache makes an empty cache.
func NewTTLCache(source Reader, ttl time.Duration, now func() time.Time) *TTLCache {
	return &TTLCache{source: source, ttl: ttl, now: now, copies: map[[sha256.Size]byte]copied{}}
}

// TTL is how long a copy is used.
func (c *TTLCache) TTL() time.Duration { return c.ttl }

// Get answers from the copy, and reads the key if there is none that is young enough. If
// that fails the answer is Unavailable: a copy is not used beyond its TTL.
func (c *TTLCache) Get(ctx context.Context, text string) Answer {
	hash := sha256.Sum256([]byte(text))
	c.mu.Lock()
	known, found := c.copies[hash]
	c.mu.Unlock()
	if age := c.now().Sub(known.at); found && age < c.ttl {
		return Answer{Code: known.code, Age: age}
	}
	// Before the read: the answer is at least as old as its question.
	at := c.now()
	code, err := c.source.Read(ctx, text)
	if err != nil {
		return Answer{Code: apikey.Unavailable, Asked: true}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.copies[hash] = copied{code, at}
	return Answer{Code: code, Age: c.now().Sub(at), Asked: true}
}

// Forget removes the copy of a key.
func (c *TTLCache) Forget(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.copies, sha256.Sum256([]byte(text)))
}

// isTTL reports whether the page offers this TTL.
func isTTL(ttl time.Duration) bool { return slices.Contains(TTLs(), ttl) }
