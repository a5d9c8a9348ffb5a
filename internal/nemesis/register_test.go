package nemesis

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// read is an answer whose "as of" and time are given in milliseconds after zero.
func read(zero time.Time, by string, code apikey.Code, from, to int) Answer {
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	return Answer{Key: "k", Instance: by, Code: code, AsOf: at(from), Asked: at(from), Given: at(to), Staleness: at(to).Sub(at(from))}
}

func TestRegisterFindsAnswersThatAreNotLinearizable(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	for name, c := range map[string]struct {
		write   func(h *History)
		answers []Answer
		wrong   bool
	}{
		"each at its time": {
			write:   func(h *History) { h.AddWrite("k", apikey.Disabled, at(100))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 90, 95), read(zero, "b", apikey.Disabled, 120, 125)},
		},
		"old after the acknowledgement": {
			write:   func(h *History) { h.AddWrite("k", apikey.Disabled, at(100))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 111, 115)},
			wrong:   true,
		},
		// The write is running, so each answer alone is possible, but not both.
		"old after another instance has read the new": {
			write:   func(h *History) { h.AddWrite("k", apikey.Disabled, at(100))(at(200)) },
			answers: []Answer{read(zero, "a", apikey.Disabled, 110, 120), read(zero, "b", apikey.Valid, 130, 140)},
			wrong:   true,
		},
		"old while another instance reads the new": {
			write:   func(h *History) { h.AddWrite("k", apikey.Disabled, at(100))(at(200)) },
			answers: []Answer{read(zero, "a", apikey.Disabled, 110, 150), read(zero, "b", apikey.Valid, 130, 140)},
		},
		"of unknown outcome, read late": {
			write:   func(h *History) { h.AddWrite("k", apikey.Disabled, at(100)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 300, 310), read(zero, "a", apikey.Disabled, 900, 910)},
		},
		"of unknown outcome, read too early": {
			write:   func(h *History) { h.AddWrite("k", apikey.Disabled, at(100)) },
			answers: []Answer{read(zero, "a", apikey.Disabled, 80, 90)},
			wrong:   true,
		},
		"expired": {
			write:   func(h *History) { h.AddExpiringWrite("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 480, 510), read(zero, "a", apikey.Expired, 480, 510)},
		},
		"valid after its expiry": {
			write:   func(h *History) { h.AddExpiringWrite("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 501, 510)},
			wrong:   true,
		},
		"expired before its expiry": {
			write:   func(h *History) { h.AddExpiringWrite("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Expired, 480, 490)},
			wrong:   true,
		},
		// Both have the same "as of" but are about two VALID states: the expired one and a
		// new one.
		"valid again, with the age of an answer before the expiry": {
			write: func(h *History) {
				h.AddExpiringWrite("k", apikey.Valid, at(100), at(500))(at(110))
				h.AddWrite("k", apikey.Valid, at(600))(at(610))
			},
			answers: []Answer{read(zero, "a", apikey.Valid, 400, 490), func() Answer {
				a := read(zero, "a", apikey.Valid, 400, 720)
				a.Asked = at(700)
				return a
			}()},
		},
		// The first would imply the second, except for the time of its request.
		"valid after its expiry, with the age of an answer before it": {
			write: func(h *History) { h.AddExpiringWrite("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 480, 490), func() Answer {
				a := read(zero, "a", apikey.Valid, 480, 520)
				a.Asked = at(505)
				return a
			}()},
			wrong: true,
		},
	} {
		h := NewHistory()
		h.AddWrite("k", apikey.Valid, at(0))(at(1))
		c.write(h)
		for _, a := range c.answers {
			h.AddAnswer(a)
		}
		h.Check(time.Minute)
		got := h.CheckRegister(time.Minute)
		if (len(got.Wrong) == 1) != c.wrong || got.Keys != 1 || len(got.Undecided) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRegisterReportsWhatItDidNotCheck(t *testing.T) {
	h := NewHistory()
	h.AddAnswer(read(time.Now(), "a", apikey.NotFound, 0, 1))
	h.Check(time.Minute)
	if got := h.CheckRegister(0); len(got.Undecided) != 1 || got.Undecided[0] != "k" {
		t.Errorf("%v", got)
	}
}

// TestAHardKeyDoesNotCostTheOthersTheirCheck: the search is exponential in writes of unknown outcome.
func TestAHardKeyDoesNotCostTheOthersTheirCheck(t *testing.T) {
	zero := time.Now()
	h := NewHistory()
	answer := func(key string, code apikey.Code, asOf, given int) {
		a := read(zero, "a", code, asOf, given)
		a.Key = key
		h.AddAnswer(a)
	}
	for i := range 40 {
		h.AddExpiringWrite("hard", apikey.Valid, zero, zero.Add(time.Duration(1000+i)*time.Millisecond))
	}
	answer("hard", apikey.Disabled, 10, 20) // no order of the writes explains it
	const others = 30
	for i := range others {
		answer(fmt.Sprint("easy-", i), apikey.NotFound, 0, 1)
	}
	h.Check(time.Minute)
	if got := h.CheckRegister(2 * time.Second); got.Keys != others+1 || !slices.Equal(got.Undecided, []string{"hard"}) {
		t.Errorf("%v", got)
	}
}

func TestDelaysOfRevocationsAreMeasured(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	h := NewHistory()
	h.AddWrite("k", apikey.Valid, at(0))(at(1))
	h.AddWrite("k", apikey.Disabled, at(1000))(at(1010)) // 30 ms on a, none on b
	h.AddWrite("k", apikey.NotFound, at(1500))(at(1510)) // was not valid before
	h.AddWrite("k", apikey.Valid, at(2000))(at(2010))
	h.AddWrite("k", apikey.NotFound, at(30000))(at(30010)) // during a fault
	h.AddFault(Fault{Kind: "f", From: at(29000), To: at(29500)})
	for _, a := range []Answer{
		read(zero, "a", apikey.Valid, 900, 1005), read(zero, "a", apikey.Valid, 900, 1020), read(zero, "a", apikey.Valid, 1000, 1040),
		read(zero, "b", apikey.Valid, 900, 1009), read(zero, "b", apikey.Disabled, 1000, 1030),
		read(zero, "a", apikey.Valid, 2000, 2500), read(zero, "b", apikey.Valid, 29000, 30510),
	} {
		h.AddAnswer(a)
	}
	h.Check(time.Minute)
	outside, inside := h.Delays([]string{"a", "b"})
	if outside.Count != 2 || outside.Late != 1 || outside.Worst != 30*time.Millisecond {
		t.Errorf("outside: %v", outside)
	}
	if inside.Count != 2 || inside.Late != 1 || inside.Worst != 500*time.Millisecond {
		t.Errorf("inside: %v", inside)
	}
}

func TestFalseNotFoundIsFound(t *testing.T) {
	h := NewHistory()
	over := h.BeginMissingCollection()
	gone := h.missing[0].From
	over(gone.Add(2 * time.Second))
	over(gone) // too late
	h.AddLoss("knows", Loss{gone.Add(-time.Millisecond), "drop"})
	h.AddLoss("other reason", Loss{gone.Add(time.Millisecond), "history_lost"})
	for name, c := range map[string]struct {
		by          string
		asked, took time.Duration
		code        apikey.Code
		want        bool
	}{
		"knows":           {by: "knows", asked: time.Second, code: apikey.NotFound, want: true},
		"an outage":       {by: "knows", asked: time.Second, code: apikey.Unavailable},
		"cannot know yet": {by: "knows", asked: 100 * time.Millisecond, code: apikey.NotFound},
		"exists again":    {by: "knows", asked: 1900 * time.Millisecond, took: time.Second, code: apikey.NotFound},
		"does not know":   {by: "does not know", asked: time.Second, code: apikey.NotFound},
		"another loss":    {by: "other reason", asked: time.Second, code: apikey.NotFound},
	} {
		_, got := h.falseNotFound(Answer{Key: "k", Instance: c.by, Code: c.code, Asked: gone.Add(c.asked), Given: gone.Add(c.asked + c.took)})
		if got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestExpiryIsComparedWithTheClock(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	for name, c := range map[string]struct {
		code            apikey.Code
		asOf, asked, to int
		want            bool
	}{
		"before":                        {apikey.Valid, 300, 390, 400, false},
		"too early":                     {apikey.Expired, 300, 390, 400, true},
		"just then":                     {apikey.Valid, 300, 490, 510, false},
		"just then, expired":            {apikey.Expired, 300, 490, 510, false},
		"staleness is no excuse":        {apikey.Valid, 300, 501, 510, true},
		"expired":                       {apikey.Expired, 300, 501, 510, false},
		"expired after it was restored": {apikey.Expired, 1020, 1030, 1040, true},
	} {
		h := NewHistory()
		h.AddExpiringWrite("k", apikey.Valid, at(100), at(500))(at(110))
		h.AddWrite("k", apikey.Valid, at(1000))(at(1010))
		h.AddAnswer(Answer{Key: "k", Code: c.code, AsOf: at(c.asOf), Asked: at(c.asked), Given: at(c.to), Staleness: at(c.to).Sub(at(c.asOf))})
		if found := h.Check(time.Minute); (len(found) > 0) != c.want {
			t.Errorf("%s: %v", name, found)
		}
	}
}
