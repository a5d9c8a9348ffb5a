package validator

import (
	"sync"
	"time"
)

// breaker is a circuit breaker: it prevents callers from waiting, each for a
// whole deadline, for a database that does not answer. It opens at the first
// failure. While it is open, it lets one attempt through at a time, and the
// first success closes it. The zero value is closed.
type breaker struct {
	mutex sync.Mutex
	open  bool
	// probing means that the attempt which was let through while the breaker
	// was open has not ended yet.
	probing bool
	// failedAt is when the last failure that counts was noticed.
	failedAt time.Time
	// successes counts the successes. By it, a new failure can be distinguished
	// from the failure of an attempt that began before the last success.
	successes uint64
}

// attempt is the permission for one attempt. Each must be ended by one of the
// three methods that take it.
type attempt struct {
	probe     bool
	successes uint64
}

// begin requests an attempt. False: the caller must fail immediately.
func (b *breaker) begin() (attempt, bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.open && b.probing {
		return attempt{}, false
	}
	p := attempt{probe: b.open, successes: b.successes}
	b.probing = b.probing || p.probe
	return p, true
}

// succeeded ends an attempt, and reports whether it has closed the breaker.
func (b *breaker) succeeded(p attempt) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.endLocked(p)
	return b.closeLocked()
}

// failed ends an attempt, and reports whether it has opened the breaker. A
// failure of an attempt that began before the last success is ignored:
// otherwise the time-outs of all callers that had waited together would reopen
// the breaker one by one after the database is available again.
func (b *breaker) failed(p attempt, now time.Time) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.endLocked(p)
	if p.successes != b.successes {
		return false
	}
	opened := !b.open
	b.open, b.failedAt = true, now
	return opened
}

// withdraw ends an attempt that was not made.
func (b *breaker) withdraw(p attempt) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.endLocked(p)
}

// closeAfter means that a write which was sent at that time has been
// acknowledged by a majority, which counts as a success.
func (b *breaker) closeAfter(at time.Time) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.open && at.After(b.failedAt) {
		b.closeLocked()
	}
}

// refuses reports whether begin would refuse an attempt.
func (b *breaker) refuses() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.open && b.probing
}

func (b *breaker) isOpen() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.open
}

// endLocked notes that an attempt has ended. The caller holds the mutex.
func (b *breaker) endLocked(p attempt) {
	if p.probe {
		b.probing = false
	}
}

// closeLocked reports whether the breaker was open. The caller holds the mutex.
func (b *breaker) closeLocked() bool {
	was := b.open
	b.open = false
	b.successes++
	return was
}
