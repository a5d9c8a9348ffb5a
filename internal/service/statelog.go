package service

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// stateReminder is the time between two log lines about a service that is not live.
	stateReminder = time.Minute
	// stateRepeat is the minimum time between two log lines about the same change of state. In
	// an outage of one member, requests can move the state between stale and down many times a
	// second.
	stateRepeat = 10 * time.Second
)

// stateLog writes the log of states: a line for each change, a reminder for each minute that the
// service is not live, and how long an outage took. It belongs to the goroutine of health.run.
type stateLog struct {
	logger *zap.Logger
	now    func() time.Time
	// cause is why the service is in this state, which is not Live.
	cause func(State) cause

	// current is the state, since when it began, and loggedAt the time of its last line.
	current         State
	since, loggedAt time.Time
	// outageSince is when the service became stale or down. Zero: there is no outage. downFor is
	// how long it has been down of that time, without the current state.
	outageSince time.Time
	downFor     time.Duration
	// lastOutage is the last one that is over.
	lastOutage *Outage
	// changes has the last line about each change of state.
	changes map[[2]State]changeLog
}

// changeLog is the last log line about one change of state, and how often the change has happened
// since.
type changeLog struct {
	at   time.Time
	more int
}

// see logs what is to be said about the state now. It reports whether the state is another one.
func (l *stateLog) see(state State) (from State, changed bool) {
	now := l.now()
	if state != l.current {
		return l.change(state, now), true
	}
	if state != Live && now.Sub(l.loggedAt) >= stateReminder {
		l.remind(now)
	}
	return state, false
}

// change logs a change of state, and returns the state before it.
func (l *stateLog) change(state State, now time.Time) State {
	from := l.current
	if from == Down {
		l.downFor += now.Sub(l.since)
	}
	l.current, l.since = state, now
	fields := []zap.Field{zap.String("from", string(from)), zap.String("to", string(state))}
	recovered := l.endsOutage(state)
	switch {
	case recovered:
		l.lastOutage = &Outage{EndedAt: now, Took: now.Sub(l.outageSince), DownFor: l.downFor}
		fields = append(fields, length("outage", l.lastOutage.Took), length("down_for", l.downFor))
		l.outageSince, l.downFor = time.Time{}, 0
	case isOutage(state):
		if l.outageSince.IsZero() {
			l.outageSince = now
		}
		c := l.cause(state)
		fields = append(append(fields, zap.String("effect", effects[state])), c.fields()...)
	}
	if more, ok := l.mayLog([2]State{from, state}, now); ok || recovered {
		if more > 0 {
			fields = append(fields, zap.Int("not_logged", more))
		}
		l.loggedAt = now
		l.logger.Log(levels[state], "state changed", fields...)
	}
	return from
}

// endsOutage: connecting ends none, because the stream has not been fresh since.
func (l *stateLog) endsOutage(state State) bool {
	return !l.outageSince.IsZero() && !isOutage(state) && state != Connecting
}

// mayLog reports whether a change may be logged again, and how often it was not.
func (l *stateLog) mayLog(change [2]State, now time.Time) (more int, ok bool) {
	last, seen := l.changes[change]
	if seen && now.Sub(last.at) < stateRepeat {
		last.more++
		l.changes[change] = last
		return 0, false
	}
	if l.changes == nil {
		l.changes = map[[2]State]changeLog{}
	}
	l.changes[change] = changeLog{at: now}
	return last.more, true
}

// remind logs that the service is still not live.
func (l *stateLog) remind(now time.Time) {
	l.loggedAt = now
	c := l.cause(l.current)
	fields := []zap.Field{zap.String("state", string(l.current)), length("for", now.Sub(l.since))}
	if !l.outageSince.IsZero() {
		fields = append(fields, length("outage", now.Sub(l.outageSince)))
	}
	fields = append(append(fields, zap.String("effect", effects[l.current])), c.fields()...)
	l.logger.Log(max(levels[l.current], reminderLevels[l.current]), "keytail is still not live", fields...)
}

// length is a duration for people: nobody reads its microseconds.
func length(name string, d time.Duration) zap.Field {
	return zap.Duration(name, d.Round(time.Millisecond))
}

func isOutage(s State) bool { return s == Stale || s == Down }

// levels are those of a change to each state.
var levels = map[State]zapcore.Level{Stale: zap.WarnLevel, Down: zap.ErrorLevel} // others: info

// reminderLevels are those of a reminder, where they differ: to connect takes a moment, and not a
// minute.
var reminderLevels = map[State]zapcore.Level{Connecting: zap.WarnLevel}

// effects are what callers notice of each state.
var effects = map[State]string{
	Connecting: "each request reads the database",
	Preloading: "requests with a key that is not cached yet read the database",
	Stale:      "each request makes a linearizable read, because the cache is older than max_stale",
	Down:       "requests are answered with UNAVAILABLE",
}
