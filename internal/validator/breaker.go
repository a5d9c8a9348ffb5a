package validator

import (
	"sync"
	"time"
)

// breaker keeps callers from waiting, each for a whole deadline, for a database
// that does not answer. It opens at the first failure; while it is open, it lets
// one through at a time, and the first success closes it. The zero value is
// closed.
type breaker struct {
	mutex sync.Mutex
	open  bool
	// probing: the one that was let through while the breaker was open is not
	// back yet.
	probing bool
	// failedAt is when the last failure that counts was noticed.
	failedAt time.Time
	// successes tells a failure that is news from one of an attempt that had
	// begun before the last success.
	successes uint64
}

// pass is the right to one attempt. Each must come back, by one of the three
// methods that take it.
type pass struct {
	probe     bool
	successes uint64
}

// enter asks for a pass. False: fail at once.
func (b *breaker) enter() (pass, bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.open && b.probing {
		return pass{}, false
	}
	p := pass{probe: b.open, successes: b.successes}
	b.probing = b.probing || p.probe
	return p, true
}

// succeeded reports whether the breaker was open until now.
func (b *breaker) succeeded(p pass) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.back(p)
	return b.closeLocked()
}

// failed reports whether the breaker was closed until now. A failure of an
// attempt that began before the last success is old news: without that, the
// time-outs of all who had waited together would reopen it one by one after the
// database has come back.
func (b *breaker) failed(p pass, now time.Time) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.back(p)
	if p.successes != b.successes {
		return false
	}
	opened := !b.open
	b.open, b.failedAt = true, now
	return opened
}

// withdraw gives a pass back that was not used.
func (b *breaker) withdraw(p pass) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.back(p)
}

// heard says that a write which was sent at that time has been acknowledged by a
// majority, which is a success too.
func (b *breaker) heard(at time.Time) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.open && at.After(b.failedAt) {
		b.closeLocked()
	}
}

// busy reports whether enter would refuse.
func (b *breaker) busy() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.open && b.probing
}

func (b *breaker) isOpen() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.open
}

// back takes note that an attempt is over. The caller holds the mutex.
func (b *breaker) back(p pass) {
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
