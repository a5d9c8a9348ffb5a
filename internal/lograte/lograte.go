// Package lograte decides which of many similar log lines are written: the first one,
// and then one in each interval, with the number of those left out. It is for what a
// client can cause as often as it likes; metrics have the exact numbers.
package lograte

import (
	"sync"
	"time"
)

// Interval is the time between two similar lines. A person who reads the log needs to
// know that something still happens, not how often in each second.
const Interval = time.Minute

// Limiter limits one kind of line. The zero value is ready, and safe for concurrent use.
type Limiter struct {
	mutex sync.Mutex
	// next is when the next line may be written. Zero: now.
	next    time.Time
	skipped int
}

// Allow reports whether a line may be written now, and how many were left out since
// the last one.
func (l *Limiter) Allow(now time.Time) (skipped int, ok bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if now.Before(l.next) {
		l.skipped++
		return 0, false
	}
	skipped, l.skipped, l.next = l.skipped, 0, now.Add(Interval)
	return skipped, true
}
