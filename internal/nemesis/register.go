package nemesis

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keytail/keytail/internal/apikey"
)

// registerKept bounds the answers that CheckRegister checks. A run of ten minutes has
// far fewer.
const registerKept = 300_000

// registerLog holds the answers for CheckRegister, without those that other answers
// imply.
type registerLog struct {
	byKey   map[string][]Answer
	kept    int
	dropped int
}

// recentAnswers is how many earlier answers are searched for one that implies the new
// answer.
const recentAnswers = 32

// add keeps an answer; answers come in the order in which they were given. An answer
// with the code and the "as of" of an earlier answer about the same key is implied by
// it, because its interval contains the earlier one. A VALID that may expire is not
// implied, because it must also be correct at the time of its request.
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

// registerInput is an operation on the register of one key: a write, or the read of an
// answer.
type registerInput struct {
	write  *Write
	answer *Answer
}

// registerState is the state after a write.
type registerState struct {
	state   apikey.Code
	expires time.Time
}

// allows reports whether the answer can be read from the state. An expiry is compared with the
// times of the request and of the answer.
func (s registerState) allows(a *Answer) bool {
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
		return s.allows(in.answer), s
	},
}

// Register is the result of CheckRegister.
type Register struct {
	// Keys and Answers were checked. The check of the Undecided keys ran out of time, and
	// that of the Wrong keys failed. LeftOut counts the answers above registerKept.
	Keys, Answers, LeftOut int
	Undecided, Wrong       []string
}

func (r Register) String() string {
	text := fmt.Sprintf("%d keys, %d answers linearizable", r.Keys-len(r.Undecided)-len(r.Wrong), r.Answers)
	if len(r.Wrong) > 0 {
		text += fmt.Sprintf("; NOT LINEARIZABLE: %q", r.Wrong)
	}
	if len(r.Undecided) > 0 {
		text += fmt.Sprintf("; RAN OUT OF TIME, not checked: %q", r.Undecided)
	}
	if r.LeftOut > 0 {
		text += fmt.Sprintf("; LEFT OUT, above the limit: %d answers", r.LeftOut)
	}
	return text
}

// CheckRegister checks with the porcupine library that the checked answers about each
// key are linearizable: a write takes effect between its sending and its
// acknowledgement (at any later time, or never, if the outcome is unknown); an answer
// reads between its "as of" and the time when it was given. This is stronger than
// FalseAge: the answers of all instances must agree on one order. It stops after the
// given time, and leaves a key alone after a part of it: a search can take exponentially
// long, and must not cost the others their check.
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
		switch porcupine.CheckOperationsTimeout(registerModel, operations(h.writes[key], answers), min(left, within/keyShare)) {
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

// keyShare is the part of the time that one key may take: nearly all take milliseconds.
const keyShare = 10

// operations converts the times to nanoseconds since the first of them. Every
// operation has its own client ID, because reads overlap.
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
		if !writes[i].Acknowledged.IsZero() {
			returns = int64(writes[i].Acknowledged.Sub(zero))
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
