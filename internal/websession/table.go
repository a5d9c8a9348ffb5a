// Package websession keeps what belongs to a browser between two requests: who has
// signed in to the pages of the admin listener, and the text of a new key until it has
// been shown. The browser has a random id in a cookie. Everything is in memory only, and
// ends with the process. It depends on the standard library only.
package websession

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

// idBytes are the random bytes of an id: 256 bits cannot be guessed.
const idBytes = 32

// Limits of a Table. All are required.
type Limits struct {
	// Idle is how long a value is kept after its last use, and Total how long at most.
	Idle, Total time.Duration
	// PerOwner is how many values one owner has at most: a new one then replaces the
	// value that has not been used for the longest time. So nobody can end what
	// belongs to others, and there are at most as many as all owners may have.
	PerOwner int
	// Now is the clock.
	Now func() time.Time
}

// Table maps random ids to values. Of an id it has the SHA-256 only, so that a dump of
// the memory does not let anyone in. It is safe for concurrent use.
type Table[T any] struct {
	limits Limits

	mutex sync.Mutex
	// kept maps the hash of an id to its value.
	kept map[[sha256.Size]byte]*kept[T]
}

type kept[T any] struct {
	value       T
	owner       string
	begun, used time.Time
}

// NewTable makes an empty table.
func NewTable[T any](limits Limits) *Table[T] {
	return &Table[T]{limits: limits, kept: map[[sha256.Size]byte]*kept[T]{}}
}

// Add keeps a value of an owner, and returns its new id, which is URL-safe text.
func (t *Table[T]) Add(owner string, value T) (id string) {
	random := make([]byte, idBytes)
	_, _ = rand.Read(random) // never fails (crypto/rand)
	id = base64.RawURLEncoding.EncodeToString(random)
	now := t.limits.Now()
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.makeSpaceLocked(owner, now)
	t.kept[sha256.Sum256([]byte(id))] = &kept[T]{value: value, owner: owner, begun: now, used: now}
	return id
}

// makeSpaceLocked removes what has ended, and an owner's oldest value if it has too many.
func (t *Table[T]) makeSpaceLocked(owner string, now time.Time) {
	var oldest [sha256.Size]byte
	count := 0
	for hash, k := range t.kept {
		if t.hasEnded(k, now) {
			delete(t.kept, hash)
			continue
		}
		if k.owner != owner {
			continue
		}
		if count++; count == 1 || k.used.Before(t.kept[oldest].used) {
			oldest = hash
		}
	}
	if count >= t.limits.PerOwner {
		delete(t.kept, oldest)
	}
}

func (t *Table[T]) hasEnded(k *kept[T], now time.Time) bool {
	return now.Sub(k.used) >= t.limits.Idle || now.Sub(k.begun) >= t.limits.Total
}

// Use returns the value of an id, and notes the use. False: the id is unknown, or its
// time has ended.
func (t *Table[T]) Use(id string) (value T, found bool) {
	return t.find(id, func(k *kept[T], now time.Time) bool {
		k.used = now
		return true
	})
}

// Take returns the value of an id that an owner has, and removes it: a second call finds
// nothing. False: the id is unknown, its time has ended, or it is another owner's.
func (t *Table[T]) Take(id, owner string) (value T, found bool) {
	return t.find(id, func(k *kept[T], _ time.Time) bool {
		if k.owner != owner {
			return false
		}
		delete(t.kept, sha256.Sum256([]byte(id)))
		return true
	})
}

// find calls accept with the mutex.
func (t *Table[T]) find(id string, accept func(*kept[T], time.Time) bool) (value T, found bool) {
	now := t.limits.Now()
	t.mutex.Lock()
	defer t.mutex.Unlock()
	k := t.kept[sha256.Sum256([]byte(id))]
	if k == nil || t.hasEnded(k, now) || !accept(k, now) {
		return value, false
	}
	return k.value, true
}

// Remove removes an id. An unknown one is ignored.
func (t *Table[T]) Remove(id string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.kept, sha256.Sum256([]byte(id)))
}
