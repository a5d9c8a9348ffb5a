package service

import "time"

// Condition is the state of the service and why it is in it, for people.
type Condition struct {
	State State
	// Since is when the state began. Zero: before Run.
	Since time.Time
	// OutageSince is when the service became stale or down. Zero: there is no outage.
	OutageSince time.Time
	// LastOutage is the last one that is over. Nil: there was none since the start.
	LastOutage *Outage
	// Effect is what callers notice. Empty while live.
	Effect string
	// Cause is why the service is not live. Nil: it is.
	Cause *Cause
}

// Outage is one that is over.
type Outage struct {
	EndedAt time.Time
	// Took is its length, DownFor how long of it the service was down.
	Took, DownFor time.Duration
}

// Cause is why the service is not live. Its texts and errors contain no key.
type Cause struct {
	// What is one sentence.
	What string
	// Since is when it began to fail. Zero: unknown.
	Since time.Time
	// Err is the last error. Nil: nothing has failed, something is awaited. ReadErr is
	// that of the last linearizable read. Nil: it succeeded, or there was none.
	Err, ReadErr error
	// Advice is what an operator can do. Empty: nothing special. Next is what keytail does
	// by itself.
	Advice, Next string
}

// period is the state that the log has reported last.
type period struct {
	state State
	// since is when it began, outageSince that of stateLog.
	since, outageSince time.Time
	lastOutage         *Outage
}

// Condition is the condition of the service now.
func (s *Service) Condition() Condition { return s.health.condition() }

func (h *health) condition() Condition {
	c := Condition{State: h.state()}
	if p := h.period.Load(); p != nil {
		c.Since, c.OutageSince, c.LastOutage = p.since, p.outageSince, p.lastOutage
		if p.state != c.State { // it has changed since health.run looked
			c.Since = h.now()
		}
	}
	if c.State == Live {
		return c
	}
	c.Effect = effects[c.State]
	why := h.cause(c.State)
	c.Cause = &Cause{What: why.what, Since: why.since, Err: why.err, ReadErr: why.readErr, Advice: why.advice, Next: why.next}
	return c
}

// period is what there is to report about the current state.
func (l *stateLog) period() *period {
	return &period{state: l.current, since: l.since, outageSince: l.outageSince, lastOutage: l.lastOutage}
}
