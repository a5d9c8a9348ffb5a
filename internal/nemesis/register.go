package nemesis

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keytail/keytail/internal/apikey"
)

// registerKept bounds the answers that are held against a register: it is far
// more than a run of ten minutes gives.
const registerKept = 300_000

// registerLog are the answers to be held against a register, those left out that
// others imply.
type registerLog struct {
	byKey   map[string][]Answer
	kept    int
	dropped int
}

// recentAnswers is how far back an answer is looked for that implies a new one.
const recentAnswers = 32

// add keeps an answer, the later ones later. One with the same state and the same
// age as an earlier one about the same key is implied by that, as its interval
// contains the other's. A VALID that may end by itself is not: it is held against
// when it was asked for besides.
func (l *registerLog) add(a Answer, writes []Write) {
	if a.Code == apikey.Unavailable {
		return
	}
	if l.byKey == nil {
		l.byKey = map[string][]Answer{}
	}
	before := l.byKey[a.Key]
	if a.Code != apikey.Valid || !slices.ContainsFunc(writes, func(w Write) bool { return !w.Expires.IsZero() }) {
		for _, b := range before[max(0, len(before)-recentAnswers):] {
			if b.Code == a.Code && b.AsOf.Equal(a.AsOf) {
				return
			}
		}
	}
	if l.kept++; l.kept > registerKept {
		l.dropped++
		return
	}
	l.byKey[a.Key] = append(before, a)
}

// registerInput is an operation on the register of one key: a write, or a read
// of what was answered.
type registerInput struct {
	write  *Write
	answer *Answer
}

// registerState is what the key's last write has left.
type registerState struct {
	state   apikey.Code
	expires time.Time
}

// legal reports whether the answer can be read from the state. What the clock
// does to it is held against when the answer was made.
func (s registerState) legal(a *Answer) bool {
	switch {
	case s.expires.IsZero():
		return a.Code == s.state
	case a.Code == apikey.Expired:
		return !a.Given.Before(s.expires)
	default:
		return a.Code == s.state && !a.Asked.After(s.expires)
	}
}

var registerModel = porcupine.Model{
	Init: func() any { return registerState{state: apikey.NotFound} },
	Step: func(state, input, _ any) (bool, any) {
		s, in := state.(registerState), input.(registerInput)
		if in.write != nil {
			return true, registerState{in.write.State, in.write.Expires}
		}
		return s.legal(in.answer), s
	},
}

// Register is what came of holding the answers against registers.
type Register struct {
	// Keys and Answers were looked at; Undecided keys ran out of time, and
	// Answers past the bound were LeftOut.
	Keys, Answers, LeftOut int
	Undecided, Wrong       []string
}

func (r Register) String() string {
	text := fmt.Sprintf("%d keys, %d answers linearizable", r.Keys-len(r.Undecided)-len(r.Wrong), r.Answers)
	if len(r.Wrong) > 0 {
		text += fmt.Sprintf("; NOT LINEARIZABLE: %q", r.Wrong)
	}
	if len(r.Undecided) > 0 {
		text += fmt.Sprintf("; RAN OUT OF TIME, nothing is known of %q", r.Undecided)
	}
	if r.LeftOut > 0 {
		text += fmt.Sprintf("; LEFT OUT, past the bound: %d answers", r.LeftOut)
	}
	return text
}

// CheckRegister holds the answers that have been judged against one register for
// each key, with another's code (porcupine): a write takes effect between its
// sending and its acknowledgement, ever if that is not known; an answer reads
// between its age and when it was given. That is rule FalseAge, and more: answers
// of all instances must have one order. It takes no longer than the time given.
func (h *History) CheckRegister(within time.Duration) Register {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	result := Register{LeftOut: h.register.dropped}
	deadline := time.Now().Add(within)
	for key, answers := range h.register.byKey {
		result.Keys, result.Answers = result.Keys+1, result.Answers+len(answers)
		left := time.Until(deadline)
		if left <= 0 {
			result.Undecided = append(result.Undecided, key)
			continue
		}
		switch porcupine.CheckOperationsTimeout(registerModel, operations(h.writes[key], answers), left) {
		case porcupine.Ok:
		case porcupine.Illegal:
			result.Wrong = append(result.Wrong, key)
		default:
			result.Undecided = append(result.Undecided, key)
		}
	}
	slices.Sort(result.Undecided)
	slices.Sort(result.Wrong)
	return result
}

// operations have times on one clock, counted from the first of them. Each read
// is a client of its own: they overlap.
func operations(writes []Write, answers []Answer) []porcupine.Operation {
	zero := answers[0].AsOf
	for _, a := range answers {
		zero = earlier(zero, a.AsOf)
	}
	for _, w := range writes {
		zero = earlier(zero, w.Sent)
	}
	never := int64(1) << 62
	var all []porcupine.Operation
	add := func(in registerInput, from time.Time, to int64) {
		all = append(all, porcupine.Operation{ClientId: len(all), Input: in, Call: int64(from.Sub(zero)), Return: to})
	}
	for i := range writes {
		returns := never
		if !writes[i].Acked.IsZero() {
			returns = int64(writes[i].Acked.Sub(zero))
		}
		add(registerInput{write: &writes[i]}, writes[i].Sent, returns)
	}
	for i := range answers {
		add(registerInput{answer: &answers[i]}, answers[i].AsOf, int64(answers[i].Given.Sub(zero)))
	}
	return all
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
