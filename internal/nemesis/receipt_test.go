package nemesis

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

func TestOracleChecksReceipts(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	h := func() *History {
		h := NewHistory()
		h.Wrote("k", apikey.Valid, at(10))(at(20))
		h.Wrote("k", apikey.Disabled, at(1000))(at(1010))
		// Not in the order of their times. The last one covers less than the first.
		h.Synced(at(1100), at(1200))
		h.Synced(at(500), at(600))
		h.Synced(at(700), at(1300))
		return h
	}
	for _, c := range []struct {
		name  string
		code  apikey.Code
		asOf  int
		asked int
		want  string
	}{
		{"before the receipt", apikey.Valid, 900, 1150, ""},
		{"after the receipt", apikey.Valid, 900, 1250, FalseReceipt},
		{"after a later receipt that covers less", apikey.Valid, 900, 1350, FalseReceipt},
		{"after a receipt that does not cover the write", apikey.Valid, 900, 1050, ""},
		{"the new state", apikey.Disabled, 900, 1250, ""},
		{"an outage", apikey.Unavailable, 900, 1250, ""},
	} {
		h := h()
		h.Answered(Answer{Key: "k", Code: c.code, AsOf: at(c.asOf), Asked: at(c.asked), Given: at(c.asked + 1), Staleness: at(c.asked + 1).Sub(at(c.asOf))})
		got := ""
		if v := h.Check(time.Minute); len(v) > 0 {
			got = v[0].Rule
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := h().Totals().Receipts; got != 3 {
		t.Errorf("%d receipts are counted, want 3", got)
	}
}

func TestOracleAllowsALooseKeyWhatWasDeclared(t *testing.T) {
	h := NewHistory()
	h.Loose("k", apikey.NotFound, apikey.Disabled)
	for _, code := range []apikey.Code{apikey.NotFound, apikey.Disabled, apikey.NotFound, apikey.Unavailable, apikey.Valid} {
		h.Answered(Answer{Key: "k", Code: code, Asked: time.Now(), Given: time.Now()})
	}
	found := h.Check(time.Minute)
	if len(found) != 1 || found[0].Answer.Code != apikey.Valid {
		t.Errorf("found %v, want the VALID answer alone", found)
	}
	if r := h.CheckRegister(time.Second); r.Keys != 0 {
		t.Errorf("a loose key was checked as a register: %v", r)
	}
}
