package keycache

import (
	"testing"
	"time"
)

// A Time that was rounded by 0 has only its wall part: so a test moves the wall clock
// alone.
func TestElapsedIsTheLargerOfBothClocks(t *testing.T) {
	from := time.Now()
	later := from.Add(5 * time.Second)
	wallOnly := func(d time.Duration) time.Time { return from.Round(0).Add(d) }
	cases := []struct {
		name     string
		from, to time.Time
		want     time.Duration
	}{
		{"both agree", from, later, 5 * time.Second},
		{"suspended: only the wall moved", wallOnly(0), wallOnly(time.Hour), time.Hour},
		{"wall set back: no negative age", wallOnly(0), wallOnly(-time.Hour), 0},
		{"an earlier reading", later, from, 0},
	}
	for _, c := range cases {
		if got := Elapsed(c.from, c.to); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
