package historycheck

import (
	"strings"
	"time"
)

// axis draws times of day below the lanes, and the time of the wrong answer through them.
func (c *canvas) axis(top, bottom int) {
	c.vertical(c.wrong.given, top, bottom, "wrong", `stroke-dasharray="3 3"`, "the wrong answer")
	c.y += 18
	step := axisStep(time.Duration(c.to - c.from))
	for at := (c.from/instant(step) + 1) * instant(step); at <= c.to; at += instant(step) {
		c.vertical(at, bottom, bottom+5, "soft", "", clock(at))
		text := at.time().Format("15:04:05.000")
		if step >= time.Second {
			text = at.time().Format("15:04:05")
		} else if step < time.Millisecond {
			text = at.time().Format("05.000000")
		}
		if c.x(at) < plotWidth-40 {
			c.text(c.x(at), c.y, "soft mid", text)
		}
	}
	c.y += 8
}

// axisStep is a round step of which about eight fit into a length.
func axisStep(length time.Duration) time.Duration {
	for unit := time.Microsecond; ; unit *= 10 {
		for _, step := range []time.Duration{unit, 2 * unit, 5 * unit} {
			if length/step <= 9 {
				return step
			}
		}
	}
}

func (c *canvas) legend() {
	c.y += 22
	x := 20.0
	for _, code := range c.codes() {
		c.element(`<rect x="%.1f" y="%d" width="11" height="11" rx="2" fill="var(--%s)"/>`, x, c.y-10, colourOf(code))
		c.text(x+16, c.y, "soft", code)
		x += 36 + 8*float64(len(code))
	}
	c.element(`<circle cx="%.1f" cy="%d" r="6" fill="none" stroke="var(--wrong)" stroke-width="2.5"/>`, x+6, c.y-4)
	c.text(x+18, c.y, "soft", "the wrong answer. All times are UTC")
}

// wrap breaks a text into lines of at most so many characters.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
