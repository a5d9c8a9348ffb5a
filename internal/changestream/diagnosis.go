package changestream

import (
	"sync"
	"time"
)

// Failure describes what a part of keytail fails at, for people.
type Failure struct {
	// Since is when the first attempt failed, without a success since. At is when the last one did.
	Since, At time.Time
	// Err is the last error, Advice what to do about it.
	Err    error
	Advice string
}

// Activity is what the tail does about its stream.
type Activity uint8

// The activities of the tail.
const (
	// Reading: the stream is open.
	Reading Activity = iota + 1
	// Opening and Resuming: the tail waits for the server to open a new stream, or to continue the
	// last one.
	Opening
	Resuming
	// Pausing: the next attempt begins after a pause.
	Pausing
)

// Diagnosis is what the tail does and what it fails at, for the log of an outage.
type Diagnosis struct {
	// Activity is zero before Run.
	Activity Activity
	// Until is when a pause ends, or when an attempt to open is given up. Zero while reading.
	Until time.Time
	// Failure is the last failure since a heartbeat arrived. Nil: there was none.
	Failure *Failure
}

// diagnosis records failures and what is done about them. Its zero value has none. The tail and
// the heartbeater each have one; others read it.
type diagnosis struct {
	mutex   sync.Mutex
	current Diagnosis
}

func (d *diagnosis) load() Diagnosis {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.current
}

// does records an activity.
func (d *diagnosis) does(what Activity, until time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.current.Activity, d.current.Until = what, until
}

// failed records a failure. It stores a new Failure each time: readers keep the last one.
func (d *diagnosis) failed(now time.Time, err error, advice string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	since := now
	if last := d.current.Failure; last != nil {
		since = last.Since
	}
	d.current.Failure = &Failure{Since: since, At: now, Err: err, Advice: advice}
}

// succeeded forgets the failure.
func (d *diagnosis) succeeded() {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.current.Failure = nil
}

// Diagnosis is what the tail does now. Safe for concurrent use.
func (t *Tail) Diagnosis() Diagnosis { return t.diagnosis.load() }

// Failure is why heartbeats are not acknowledged. Nil: the last one was, or none has been sent.
// Safe for concurrent use.
func (h *Heartbeater) Failure() *Failure { return h.diagnosis.load().Failure }
