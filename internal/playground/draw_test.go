package playground

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// at is a number of seconds after the left edge.
func at(seconds int) time.Time { return time.Unix(1000+int64(seconds), 0) }

func laneOf(pairs ...any) *lane {
	l := &lane{}
	for i := 0; i < len(pairs); i += 2 {
		l.see(at(pairs[i].(int)), Answer{Code: pairs[i+1].(apikey.Code)})
	}
	return l
}

// TestWrongAnswersAreDrawn where what MongoDB held has changed, and nowhere else.
func TestWrongAnswersAreDrawn(t *testing.T) {
	t.Parallel()
	w := window{at(0), at(100)}
	held := laneOf(-50, apikey.Valid, 20, apikey.Disabled, 60, apikey.Valid, 80, apikey.NotFound)
	for name, c := range map[string]struct {
		lane *lane
		want string
	}{
		"what it held":     {held, "valid 0-20 VALID, disabled 20-40 DISABLED, valid 60-20 VALID, notfound 80-20 (NOT_FOUND)"},
		"too late":         {laneOf(0, apikey.Valid, 30, apikey.Disabled), "valid 0-20 VALID, wrong 20-10 , disabled 30-30 DISABLED, wrong 60-40 still DISABLED"},
		"no answer":        {laneOf(-10, apikey.Valid, 15, apikey.Unavailable), "valid 0-15 VALID, unavailable 15-85 UNAVAILABLE"},
		"not a known code": {laneOf(0, apikey.Expired), "wrong 0-100 still EXPIRED"},
		"no answer yet":    {laneOf(), ""},
		"gone":             {laneOf(-20, apikey.Valid, -10, apikey.Unavailable), "unavailable 0-100 UNAVAILABLE"},
	} {
		var got []string
		for _, b := range w.bars(c.lane, held) {
			text := b.Text
			if b.Tight {
				text = "(" + text + ")"
			}
			got = append(got, fmt.Sprintf("%s %s-%s %s", b.Class, strings.TrimSuffix(b.X, ".00%"), strings.TrimSuffix(b.Width, ".00%"), text))
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, text, c.want)
		}
	}
}

func TestFaultsAreShaded(t *testing.T) {
	t.Parallel()
	w := window{at(0), at(100)}
	bars := w.faultBars([]span{{Cut, at(-20), at(-10)}, {Cut, at(-20), at(10)}, {Frozen, at(50), time.Time{}}})
	if len(bars) != 2 || bars[0] != (bar{X: "0.00%", Width: "10.00%"}) || bars[1] != (bar{X: "50.00%", Width: "50.00%", Text: "primary frozen"}) {
		t.Errorf("got %+v", bars)
	}
}

func TestWindowGrows(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]time.Duration{0: 30 * time.Second, 29 * time.Second: 30 * time.Second, 31 * time.Second: time.Minute, time.Hour: Window} {
		if got := windowSince(at(0), at(0).Add(age)).length(); got != want {
			t.Errorf("after %v: %v, want %v", age, got, want)
		}
	}
	if got := windowSince(time.Time{}, at(0)).length(); got != 30*time.Second {
		t.Errorf("nothing yet: %v", got)
	}
}

func TestPlotHasGapsWhereNothingIsKnown(t *testing.T) {
	t.Parallel()
	w := window{at(0), at(100)}
	p := w.plot([]agePoint{{at(-1), time.Hour}, {at(0), 0}, {at(50), 10 * time.Second}, {at(60), -1}, {at(100), time.Minute}}, 10*time.Second)
	if len(p.Lines) != 2 || p.Lines[0] != "0.0,100.0 600.0,33.3 " || p.Lines[1] != "1200.0,0.0 " || p.LimitY != "33.33%" || !strings.Contains(p.Text, "at most 60 s old") {
		t.Errorf("got %+v", p)
	}
	if p := w.plot(nil, time.Second); len(p.Lines) != 0 || !strings.Contains(p.Text, "not known") {
		t.Errorf("without points: %+v", p)
	}
}

func TestShortTime(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "less than 1 ms", 12*time.Millisecond + 900: "12 ms", time.Second: "1 s", 3450 * time.Millisecond: "3.4 s",
		41900 * time.Millisecond: "41 s", 2 * time.Minute: "2 min", 125 * time.Second: "2 min 5 s",
	} {
		if got := shortTime(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
