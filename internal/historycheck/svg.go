package historycheck

import (
	"fmt"
	"html"
	"maps"
	"slices"
	"strings"

	"github.com/keytail/keytail/internal/history"
)

// The geometry of a picture, in pixels.
const (
	plotWidth  = 1120
	laneLeft   = 180
	laneRight  = plotWidth - 30
	laneHeight = 26
	textWidth  = 155 // characters of a line of text
)

// style has the colours for light and dark. Each code has a colour of its own, and a text
// wherever it is shown.
const style = `
svg{--bg:#ffffff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--fault:#bf8700;--wrong:#cf222e;
--VALID:#1a7f37;--DISABLED:#8250df;--EXPIRED:#9a6700;--NOT_FOUND:#57606a;--FORBIDDEN:#0550ae;--INSUFFICIENT_PERMISSIONS:#0a7ea4;--REFUSED:#8250df;--MISSING:#57606a;--MALFORMED:#57606a;--UNAVAILABLE:#bc4c00;--ANY:#8c959f}
@media(prefers-color-scheme:dark){svg{--bg:#0d1117;--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;--fault:#d29922;--wrong:#ff7b72;
--VALID:#3fb950;--DISABLED:#bc8cff;--EXPIRED:#d29922;--NOT_FOUND:#9198a1;--FORBIDDEN:#58a6ff;--INSUFFICIENT_PERMISSIONS:#39c5cf;--REFUSED:#bc8cff;--MISSING:#9198a1;--MALFORMED:#9198a1;--UNAVAILABLE:#f0883e;--ANY:#6e7681}}
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:var(--ink)}.soft{fill:var(--soft)}.title{font-size:15px;font-weight:600}.wrong{fill:var(--wrong);font-weight:600}.end{text-anchor:end}.mid{text-anchor:middle}`

// canvas collects the elements of a picture, from top to bottom.
type canvas struct {
	*plot
	strings.Builder
	y int
}

// draw returns the picture.
func (p *plot) draw() string {
	c := &canvas{plot: p, y: 28}
	c.text(20, c.y, "title", p.title())
	for _, b := range p.violation.Broken {
		rule := strings.ToUpper(string(b.Rule)) + ": "
		for i, line := range wrap(rule+b.Why, textWidth) {
			c.y += 17
			if i > 0 {
				rule = ""
			}
			c.element(`<text x="20" y="%d"><tspan class="wrong">%s</tspan>%s</text>`, c.y, rule, html.EscapeString(plain(line[len(rule):])))
		}
	}
	c.y += 24
	top := c.y
	c.faultNames()
	c.writes()
	c.states()
	c.answers()
	bottom := c.y
	c.axis(top, bottom)
	c.legend()
	c.y += 20
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img"><title>%s</title><style>%s</style>`,
		plotWidth, c.y, html.EscapeString(p.title()), style)
	head += fmt.Sprintf("\n"+`<rect width="%d" height="%d" fill="var(--bg)"/>`+"\n", plotWidth, c.y)
	return head + c.shades(top, bottom) + c.String() + "</svg>\n"
}

// x is the place of a time, within the lanes.
func (c *canvas) x(at instant) float64 {
	at = min(max(at, c.from), c.to)
	return laneLeft + float64(at-c.from)/float64(c.to-c.from)*(laneRight-laneLeft)
}

func (c *canvas) element(format string, args ...any) { _, _ = fmt.Fprintf(c, format+"\n", args...) }

func (c *canvas) text(x float64, y int, class, text string) {
	c.element(`<text x="%.1f" y="%d" class="%s">%s</text>`, x, y, class, html.EscapeString(plain(text)))
}

// bar is a span of time with a colour and a text that a pointer shows.
func (c *canvas) bar(from, to instant, y, height int, colour string, opacity float64, title string) {
	x := c.x(from)
	c.element(`<rect x="%.1f" y="%d" width="%.1f" height="%d" rx="2" fill="var(--%s)" opacity="%.2f"><title>%s</title></rect>`,
		x, y, max(c.x(to)-x, 2), height, colour, opacity, html.EscapeString(plain(title)))
}

// vertical is a line at a time, with a text that a pointer shows.
func (c *canvas) vertical(at instant, from, to int, colour, attributes, title string) {
	c.element(`<path d="M%.1f %dV%d" stroke="var(--%s)" %s><title>%s</title></path>`, c.x(at), from, to, colour, attributes, html.EscapeString(title))
}

// colourOf is the name of a code's colour.
func colourOf(code string) string {
	if code == history.AnyState {
		return "ANY"
	}
	return code
}

// shades are the faults and the max_stale window behind everything.
func (c *canvas) shades(top, bottom int) string {
	back := &canvas{plot: c.plot}
	for _, f := range c.faults {
		if f.from <= c.to && f.to >= c.from {
			back.bar(f.from, f.to, top-14, bottom-top+14, "fault", 0.14, f.name)
		}
	}
	return back.String()
}

// faultNames writes the names of faults above their shades, in rows that do not overlap.
func (c *canvas) faultNames() {
	var rows []float64 // where the last name of each row ends
	for _, f := range c.faults {
		if f.from > c.to || f.to < c.from || len(rows) > 4 {
			continue
		}
		text := "fault: " + f.name
		x := min(c.x(f.from)+3, float64(plotWidth-7*len(text)))
		row := slices.IndexFunc(rows, func(end float64) bool { return end < x })
		if row < 0 {
			rows, row = append(rows, 0), len(rows)
		}
		rows[row] = x + float64(7*len(text))
		c.text(x, c.y+14*row, "soft", text)
	}
	c.y += 14 * len(rows)
}

func (c *canvas) lane(name string) (y int) {
	y = c.y
	c.text(laneLeft-12, y+laneHeight/2+4, "end", name)
	c.element(`<line x1="%d" y1="%d" x2="%d" y2="%[2]d" stroke="var(--line)"/>`, laneLeft, y+laneHeight, laneRight)
	c.y += laneHeight
	return y
}

func (c *canvas) heading(text string) {
	c.y += 20
	c.text(20, c.y, "soft", text)
	c.y += 6
}

// writesDrawn bounds the rows of writes.
const writesDrawn = 12

// writes draws a bar from the sending to the acknowledgement of each write.
func (c *canvas) writes() {
	c.heading("writes of " + c.violation.Answer.Key + ", from sent to acknowledged")
	var shown []*write
	for i := range c.timeline.writes {
		if w := &c.timeline.writes[i]; w.sent <= c.to && (w.acknowledged >= c.from || !w.known) {
			shown = append(shown, w)
		}
	}
	named := func(w *write) bool {
		return slices.ContainsFunc(c.violation.Writes, func(of WriteLine) bool { return of.Line == w.line })
	}
	if len(shown) > writesDrawn {
		shown = slices.DeleteFunc(shown, func(w *write) bool { return !named(w) })
	}
	if len(shown) == 0 {
		c.lane("none in this time")
	}
	for _, w := range shown[:min(len(shown), writesDrawn)] {
		y := c.lane(c.lineOf(w.line))
		text := w.state
		end, opacity := w.acknowledged, 1.0
		if !w.known {
			text, end, opacity = text+", outcome unknown", c.to, 0.35
		} else {
			text += fmt.Sprintf(", acknowledged %s", clock(w.acknowledged))
		}
		c.bar(w.sent, end, y+6, laneHeight-12, colourOf(w.state), opacity, text)
		if x := c.x(end) + 6; w.known && x < laneRight-260 {
			c.text(x, y+17, "", text)
		} else {
			c.text(c.x(w.sent)-6, y+17, "end", text)
		}
	}
}

// states draws when the key can have had each state.
func (c *canvas) states() {
	c.heading("the states that these writes allow")
	for _, state := range c.lanes() {
		name := state
		if state == history.AnyState {
			name = "any"
		}
		y := c.lane(name)
		for _, s := range c.timeline.spans {
			from, to := max(s.from, s.begins), min(s.to, s.ends)
			if s.state == state && from <= c.to && to >= c.from {
				c.bar(from, to, y+5, laneHeight-10, colourOf(state), 0.55, fmt.Sprintf("%s possible from %s to %s", name, clock(from), clock(to)))
			}
		}
	}
}

// answers draws a tick for each answer, by instance, and the wrong one with its window.
func (c *canvas) answers() {
	c.heading("answers about it, when they were given")
	for _, instance := range slices.Sorted(maps.Keys(c.ticks)) {
		name := instance
		if name == "" {
			name = "answers"
		}
		y := c.lane(name)
		for _, t := range c.ticks[instance] {
			c.vertical(t.at, y+6, y+laneHeight-4, colourOf(t.code), `stroke-width="1.5"`, t.code+" at "+clock(t.at))
		}
		if instance == c.violation.Answer.Instance {
			c.element(`<circle cx="%.1f" cy="%d" r="7" fill="none" stroke="var(--wrong)" stroke-width="2.5"/>`, c.x(c.wrong.given), y+laneHeight/2+1)
		}
	}
	if c.leftOut > 0 {
		c.y += 14
		c.text(laneLeft, c.y, "soft", fmt.Sprintf("%d more answers are not drawn", c.leftOut))
	}
	c.windows()
}

// windows draws what the wrong answer must know: from its as_of, and from max_stale before
// it.
func (c *canvas) windows() {
	if c.wrong.asOf != always {
		c.window(c.wrong.asOf, "as_of", "it reports that it ignores nothing before this time")
	} else if c.wrong.hasStaleness {
		c.window(c.wrong.asked.add(-c.wrong.staleness), "staleness", "it reports that it ignores nothing before this time")
	}
	if from := c.staleFrom(); from != always && from >= c.from {
		c.window(from, "max_stale "+c.maxStale.String(), "max_stale before the request")
	}
}

func (c *canvas) window(from instant, name, title string) {
	y := c.lane(name)
	middle := y + laneHeight/2
	c.element(`<path d="M%.1f %d v-8 v16 v-8 H%.1f" fill="none" stroke="var(--wrong)" stroke-width="2"><title>%s</title></path>`,
		c.x(from), middle, c.x(c.wrong.given), html.EscapeString(title+": "+clock(from)))
	c.element(`<path d="M%.1f %d l-8 -5 v10 z" fill="var(--wrong)"/>`, c.x(c.wrong.given), middle)
	if x := c.x(from); x > laneLeft+120 {
		c.text(x-8, middle+4, "soft end", clock(from))
	} else {
		c.text(x+6, middle-4, "soft", clock(from))
	}
}
