package nemesis

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

func TestFalseAcknowledgementIsFound(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	h := func() *History {
		h := NewHistory()
		h.AddWrite("k", apikey.Valid, at(10))(at(20))
		h.AddWrite("k", apikey.Disabled, at(1000))(at(1010))
		// Not in chronological order. The last one covers less than the first.
		h.AddAcknowledgement(at(1100), at(1200))
		h.AddAcknowledgement(at(500), at(600))
		h.AddAcknowledgement(at(700), at(1300))
		return h
	}
	for _, c := range []struct {
		name  string
		code  apikey.Code
		asOf  int
		asked int
		want  string
	}{
		{"before the acknowledgement", apikey.Valid, 900, 1150, ""},
		{"after the acknowledgement", apikey.Valid, 900, 1250, FalseAcknowledgement},
		{"after a later acknowledgement that covers less", apikey.Valid, 900, 1350, FalseAcknowledgement},
		{"after an acknowledgement that does not cover the write", apikey.Valid, 900, 1050, ""},
		{"the new state", apikey.Disabled, 900, 1250, ""},
		{"an outage", apikey.Unavailable, 900, 1250, ""},
	} {
		h := h()
		h.AddAnswer(Answer{Key: "k", Code: c.code, AsOf: at(c.asOf), Asked: at(c.asked), Given: at(c.asked + 1), Staleness: at(c.asked + 1).Sub(at(c.asOf))})
		got := ""
		if v := h.Check(time.Minute); len(v) > 0 {
			got = v[0].Rule
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := h().Totals().Acknowledgements; got != 3 {
		t.Errorf("%d acknowledgements counted, want 3", got)
	}
}

func TestUnrecordedKeyAllowsTheDeclaredAnswers(t *testing.T) {
	h := NewHistory()
	h.DeclareUnrecorded("k", apikey.NotFound, apikey.Disabled)
	for _, code := range []apikey.Code{apikey.NotFound, apikey.Disabled, apikey.NotFound, apikey.Unavailable, apikey.Valid} {
		now := time.Now()
		h.AddAnswer(Answer{Key: "k", Code: code, Asked: now, Given: now, AsOf: now})
	}
	found := h.Check(time.Minute)
	if len(found) != 2 || found[0].Answer.Code != apikey.Valid || found[1].Answer.Code != apikey.Valid {
		t.Errorf("found %v, want only the VALID answer, by two rules", found)
	}
	if r := h.CheckRegister(time.Second); r.Keys != 0 {
		t.Errorf("an unrecorded key was checked as a register: %v", r)
	}
}
