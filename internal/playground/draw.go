package playground

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// bar is a part of a lane, in per cent of its width.
type bar struct {
	X, Width string
	// Class is the style, Pattern the id of the pattern. Empty: none.
	Class, Pattern string
	// Text is for inside of the bar. Empty: there is no place for it. Tight: there is none
	// on a phone.
	Text  string
	Tight bool
}

// percent is a share of the width.
func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 2, 64) + "%" }

// window is the time that is drawn.
type window struct{ from, to time.Time }

// windowSince has place for everything since a time: the shortest of some lengths, so that
// the first seconds are not a line at the edge. Zero: there is nothing yet.
func windowSince(first, now time.Time) window {
	length := Window
	for _, shorter := range []time.Duration{Window / 2, Window / 4} {
		if first.IsZero() || now.Sub(first) < shorter {
			length = shorter
		}
	}
	return window{now.Add(-length), now}
}

func (w window) length() time.Duration { return w.to.Sub(w.from) }

// axis are the texts below a drawing, from left to right.
func (w window) axis() []string {
	return []string{shortTime(w.length()) + " ago", shortTime(w.length()/2) + " ago", "now"}
}

// share is where a time is between the left and the right edge.
func (w window) share(at time.Time) float64 {
	return min(1, max(0, float64(at.Sub(w.from))/float64(w.length())))
}

// The width of a character of a bar's text, as a share of a lane on a screen and on a phone,
// with some room.
const (
	charShare      = 0.0135
	phoneCharShare = 0.025
)

func (w window) bar(from, to time.Time) bar {
	x := w.share(from)
	return bar{X: percent(x), Width: percent(w.share(to) - x)}
}

// label gives a bar its text, if there is place.
func (b *bar) label(w window, from, to time.Time, text string) {
	width := (w.share(to) - w.share(from)) / float64(len(text))
	if width > charShare {
		b.Text, b.Tight = text, width <= phoneCharShare
	}
}

// looks of the codes. A code that is not in it is drawn as DISABLED.
var looks = map[apikey.Code]bar{
	apikey.Valid:       {Class: "valid"},
	apikey.Disabled:    {Class: "disabled", Pattern: "hatch"},
	apikey.NotFound:    {Class: "notfound", Pattern: "dots"},
	apikey.Unavailable: {Class: "unavailable", Pattern: "stripes"},
}

// piece is a part of a segment that was either right or wrong.
type piece struct {
	from, to time.Time
	code     apikey.Code
	wrong    bool
}

// bars draws a lane. held is what MongoDB held.
func (w window) bars(l, held *lane) []bar {
	var all []bar
	for i, s := range l.segments {
		for _, p := range split(s, l.end(i, w.to), held, w.to) {
			if b, seen := w.draw(p); seen {
				all = append(all, b)
			}
		}
	}
	return all
}

func (w window) draw(p piece) (bar, bool) {
	b, text := w.bar(p.from, p.to), p.code.String()
	if !p.to.After(w.from) || b.Width == "0.00%" {
		return bar{}, false
	}
	look, known := looks[p.code]
	if !known {
		look = looks[apikey.Disabled]
	}
	b.Class, b.Pattern = look.Class, look.Pattern
	if p.wrong {
		b.Class, b.Pattern, text = "wrong", "", "still "+text
	}
	b.label(w, p.from, p.to, text)
	return b, true
}

// end is where a segment ends.
func (l *lane) end(i int, now time.Time) time.Time {
	if i+1 < len(l.segments) {
		return l.segments[i+1].from
	}
	return now
}

// split divides a segment where what MongoDB held changes. UNAVAILABLE is never wrong.
func split(s segment, end time.Time, held *lane, now time.Time) []piece {
	if s.code == apikey.Unavailable || len(held.segments) == 0 {
		return []piece{{s.from, end, s.code, false}}
	}
	var all []piece
	from := s.from
	for i, t := range held.segments {
		to := held.end(i, now)
		if !to.After(from) {
			continue
		}
		to = minTime(to, end)
		if to.After(from) {
			wrong := t.code != s.code
			if n := len(all); n > 0 && all[n-1].wrong == wrong {
				all[n-1].to = to
			} else {
				all = append(all, piece{from, to, s.code, wrong})
			}
			from = to
		}
	}
	return all
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// faultBars shade the times with a fault.
func (w window) faultBars(all []span) []bar {
	var bars []bar
	for _, s := range all {
		to := s.to
		if to.IsZero() {
			to = w.to
		}
		if !to.After(w.from) {
			continue
		}
		b := w.bar(s.from, to)
		b.label(w, s.from, to, s.fault.short())
		bars = append(bars, b)
	}
	return bars
}

// plot is the staleness as a drawing.
type plot struct {
	// Lines are the points of lines in a box of plotWidth to plotHeight.
	Lines []string
	// LimitY is where max_stale is, in per cent from the top.
	LimitY string
	// Text says what it shows.
	Text string
}

const (
	plotWidth  = 1200
	plotHeight = 100
	// headroom is how much more than max_stale has place.
	headroom = 1.5
)

// plot draws the staleness. What is above the headroom stays at its edge.
func (w window) plot(ages []agePoint, maxStale time.Duration) plot {
	top := headroom * float64(maxStale)
	p := plot{LimitY: percent(1 - 1/headroom)}
	var b strings.Builder
	end := func() {
		if b.Len() > 0 {
			p.Lines = append(p.Lines, b.String())
		}
		b.Reset()
	}
	highest := time.Duration(-1)
	for _, a := range ages {
		if a.staleness < 0 || a.at.Before(w.from) {
			end()
			continue
		}
		highest = max(highest, a.staleness)
		y := plotHeight * (1 - min(1, float64(a.staleness)/top))
		fmt.Fprintf(&b, "%.1f,%.1f ", plotWidth*w.share(a.at), y)
	}
	end()
	p.Text = "The age of what keytail knows is not known yet."
	if highest >= 0 {
		p.Text = fmt.Sprintf("In the last %s what keytail knows was at most %s old. From memory it answers up to %s.", shortTime(w.length()), shortTime(highest), shortTime(maxStale))
	}
	return p
}
