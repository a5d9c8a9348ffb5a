package nemesis

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// read is an answer between two milliseconds after zero.
func read(zero time.Time, by string, code apikey.Code, from, to int) Answer {
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	return Answer{Key: "k", By: by, Code: code, AsOf: at(from), Asked: at(from), Given: at(to), Staleness: at(to).Sub(at(from))}
}

func TestRegister(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	for name, c := range map[string]struct {
		write   func(h *History)
		answers []Answer
		wrong   bool
	}{
		"each where it was": {
			write:   func(h *History) { h.Wrote("k", apikey.Disabled, at(100))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 90, 95), read(zero, "b", apikey.Disabled, 120, 125)},
		},
		"old after the acknowledgement": {
			write:   func(h *History) { h.Wrote("k", apikey.Disabled, at(100))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 111, 115)},
			wrong:   true,
		},
		// Each may be true by itself: the write is under way. Both cannot be.
		"old after somebody has seen the new": {
			write:   func(h *History) { h.Wrote("k", apikey.Disabled, at(100))(at(200)) },
			answers: []Answer{read(zero, "a", apikey.Disabled, 110, 120), read(zero, "b", apikey.Valid, 130, 140)},
			wrong:   true,
		},
		"old while another sees the new": {
			write:   func(h *History) { h.Wrote("k", apikey.Disabled, at(100))(at(200)) },
			answers: []Answer{read(zero, "a", apikey.Disabled, 110, 150), read(zero, "b", apikey.Valid, 130, 140)},
		},
		"of unknown outcome, seen late": {
			write:   func(h *History) { h.Wrote("k", apikey.Disabled, at(100)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 300, 310), read(zero, "a", apikey.Disabled, 900, 910)},
		},
		"of unknown outcome, seen too early": {
			write:   func(h *History) { h.Wrote("k", apikey.Disabled, at(100)) },
			answers: []Answer{read(zero, "a", apikey.Disabled, 80, 90)},
			wrong:   true,
		},
		"expired by itself": {
			write:   func(h *History) { h.WroteExpiring("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 480, 510), read(zero, "a", apikey.Expired, 480, 510)},
		},
		"valid after its end": {
			write:   func(h *History) { h.WroteExpiring("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 501, 510)},
			wrong:   true,
		},
		"expired before its end": {
			write:   func(h *History) { h.WroteExpiring("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Expired, 480, 490)},
			wrong:   true,
		},
		// Both are as old, and about two VALIDs: that which ended, and a new one.
		"valid again, as old as before its end": {
			write: func(h *History) {
				h.WroteExpiring("k", apikey.Valid, at(100), at(500))(at(110))
				h.Wrote("k", apikey.Valid, at(600))(at(610))
			},
			answers: []Answer{read(zero, "a", apikey.Valid, 400, 490), func() Answer {
				a := read(zero, "a", apikey.Valid, 400, 720)
				a.Asked = at(700)
				return a
			}()},
		},
		// The second is implied by the first, but for when it was asked.
		"valid after its end, as old as one before": {
			write: func(h *History) { h.WroteExpiring("k", apikey.Valid, at(100), at(500))(at(110)) },
			answers: []Answer{read(zero, "a", apikey.Valid, 480, 490), func() Answer {
				a := read(zero, "a", apikey.Valid, 480, 520)
				a.Asked = at(505)
				return a
			}()},
			wrong: true,
		},
	} {
		h := NewHistory()
		h.Wrote("k", apikey.Valid, at(0))(at(1))
		c.write(h)
		for _, a := range c.answers {
			h.Answered(a)
		}
		h.Check(time.Minute)
		got := h.CheckRegister(time.Minute)
		if (len(got.Wrong) == 1) != c.wrong || got.Keys != 1 || len(got.Undecided) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRegisterSaysWhatItDidNotLookAt(t *testing.T) {
	h := NewHistory()
	h.Answered(read(time.Now(), "a", apikey.NotFound, 0, 1))
	h.Check(time.Minute)
	if got := h.CheckRegister(0); len(got.Undecided) != 1 || got.Undecided[0] != "k" {
		t.Errorf("%v", got)
	}
}

func TestDelays(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	h := NewHistory()
	h.Wrote("k", apikey.Valid, at(0))(at(1))
	h.Wrote("k", apikey.Disabled, at(1000))(at(1010)) // 30 ms at a, none at b
	h.Wrote("k", apikey.NotFound, at(1500))(at(1510)) // takes nothing away
	h.Wrote("k", apikey.Valid, at(2000))(at(2010))
	h.Wrote("k", apikey.NotFound, at(30000))(at(30010)) // within a fault
	h.Broke(Fault{Kind: "f", From: at(29000), To: at(29500)})
	for _, a := range []Answer{
		read(zero, "a", apikey.Valid, 900, 1005), read(zero, "a", apikey.Valid, 900, 1020), read(zero, "a", apikey.Valid, 1000, 1040),
		read(zero, "b", apikey.Valid, 900, 1009), read(zero, "b", apikey.Disabled, 1000, 1030),
		read(zero, "a", apikey.Valid, 2000, 2500), read(zero, "b", apikey.Valid, 29000, 30510),
	} {
		h.Answered(a)
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

func TestFalseNo(t *testing.T) {
	h := NewHistory()
	over := h.Missing()
	gone := h.missing[0].From
	over()
	h.missing[0].To = gone.Add(2 * time.Second)
	h.Lost("knows", Loss{gone.Add(-time.Millisecond), "drop"})
	h.Lost("other reason", Loss{gone.Add(time.Millisecond), "history_lost"})
	for name, c := range map[string]struct {
		by          string
		asked, took time.Duration
		code        apikey.Code
		want        bool
	}{
		"knows":                 {by: "knows", asked: time.Second, code: apikey.NotFound, want: true},
		"an outage":             {by: "knows", asked: time.Second, code: apikey.Unavailable},
		"cannot know yet":       {by: "knows", asked: 100 * time.Millisecond, code: apikey.NotFound},
		"there is one again":    {by: "knows", asked: 1900 * time.Millisecond, took: time.Second, code: apikey.NotFound},
		"has not been told":     {by: "nobody", asked: time.Second, code: apikey.NotFound},
		"lost it for something": {by: "other reason", asked: time.Second, code: apikey.NotFound},
	} {
		_, got := h.falseNo(Answer{Key: "k", By: c.by, Code: c.code, Asked: gone.Add(c.asked), Given: gone.Add(c.asked + c.took)})
		if got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOracleKnowsWhatEndsByItself(t *testing.T) {
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
		"just then, the other":          {apikey.Expired, 300, 490, 510, false},
		"its age is no excuse":          {apikey.Valid, 300, 501, 510, true},
		"expired":                       {apikey.Expired, 300, 501, 510, false},
		"expired after it was restored": {apikey.Expired, 1020, 1030, 1040, true},
	} {
		h := NewHistory()
		h.WroteExpiring("k", apikey.Valid, at(100), at(500))(at(110))
		h.Wrote("k", apikey.Valid, at(1000))(at(1010))
		h.Answered(Answer{Key: "k", Code: c.code, AsOf: at(c.asOf), Asked: at(c.asked), Given: at(c.to), Staleness: at(c.to).Sub(at(c.asOf))})
		if found := h.Check(time.Minute); (len(found) > 0) != c.want {
			t.Errorf("%s: %v", name, found)
		}
	}
}
