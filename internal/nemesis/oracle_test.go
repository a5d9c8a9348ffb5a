package nemesis

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

func TestAnswersAreCheckedAgainstTheWrites(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	const maxStale = 100 * time.Millisecond
	// Created 10..20, revoked 1000..1010, restored with unknown outcome at 2000, revoked
	// again 3000..3010.
	h := func() *History {
		h := NewHistory()
		h.AddWrite("k", apikey.Valid, at(10))(at(20))
		h.AddWrite("k", apikey.Disabled, at(1000))(at(1010))
		h.AddWrite("k", apikey.Valid, at(2000))
		h.AddWrite("k", apikey.Disabled, at(3000))(at(3010))
		return h
	}
	cases := []struct {
		name  string
		code  apikey.Code
		asOf  int
		given int
		want  string
	}{
		{"before it was created", apikey.NotFound, 0, 5, ""},
		{"too early", apikey.Valid, 0, 5, FalseAge},
		{"while it was created", apikey.NotFound, 15, 16, ""},
		{"while it was created, new state", apikey.Valid, 15, 16, ""},
		{"valid", apikey.Valid, 490, 500, ""},
		{"lost", apikey.NotFound, 490, 500, FalseAge},
		{"revoked, with a correct age", apikey.Valid, 1009, 1060, ""},
		{"revoked, with a false age", apikey.Valid, 1011, 1060, FalseAge},
		{"revoked, with a correct age above max_stale", apikey.Valid, 1000, 1200, LateAcceptance},
		{"refused too early", apikey.Disabled, 900, 990, FalseAge},
		{"refused", apikey.Disabled, 1100, 1110, ""},
		{"unknown restore", apikey.Valid, 2500, 2510, ""},
		{"unknown restore, not applied", apikey.Disabled, 2500, 2510, ""},
		{"after the fence", apikey.Valid, 3020, 3030, FalseAge},
		{"outage", apikey.Unavailable, 3020, 3030, ""},
	}
	for _, c := range cases {
		h := h()
		h.AddAnswer(Answer{Key: "k", Code: c.code, AsOf: at(c.asOf), Asked: at(c.given - 1), Given: at(c.given), Staleness: at(c.given).Sub(at(c.asOf))})
		got := ""
		if v := h.Check(maxStale); len(v) > 0 {
			got = v[0].Rule
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
