package resume

import (
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// oracle knows which answers are right: those of a state that the key had at the answer's AsOf or
// later. It is for one goroutine, which makes the writes and asks.
type oracle struct {
	// history has the states of each key, in their order.
	history [][]span
	// several is when the last write of more than one document was acknowledged. Until then a key
	// may have had a state that the history does not have.
	several time.Time
}

// span is the time in which a key had a state.
type span struct {
	state state
	// until is when the write that ended it was acknowledged. Zero: it has not ended.
	until time.Time
}

func newOracle(states []state) *oracle {
	o := &oracle{}
	for _, s := range states {
		o.history = append(o.history, []span{{state: s}})
	}
	return o
}

// written notes the states after a write that was acknowledged now.
func (o *oracle) written(states []state, now time.Time) {
	for n, s := range states {
		last := &o.history[n][len(o.history[n])-1]
		if last.state != s {
			last.until = now
			o.history[n] = append(o.history[n], span{state: s})
		}
	}
}

// current is the state of a key now.
func (o *oracle) current(n int) state { return o.history[n][len(o.history[n])-1].state }

// check returns what is wrong with an answer, empty if nothing is.
func (o *oracle) check(n int, v *apikey.Verdict) string {
	if v.Code == apikey.Unavailable {
		return ""
	}
	got := stateOfVerdict(v)
	if v.Staleness > maxStale {
		return fmt.Sprintf("key %d: the answer %v is %v old, and max_stale is %v", n, got, v.Staleness, maxStale)
	}
	for _, s := range o.history[n] {
		if s.state == got && (s.until.IsZero() || !v.AsOf.After(s.until)) {
			return ""
		}
	}
	if !v.AsOf.After(o.several) {
		return ""
	}
	return fmt.Sprintf("key %d: the answer from %v as of %v ago is %v, and the key was not that any more: %v", n, v.Source, time.Since(v.AsOf), got, o.history[n])
}
