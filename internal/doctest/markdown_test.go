package doctest

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// page is a Markdown document, as far as these tests read it.
type page struct {
	name     string
	headings []string
	anchors  map[string]bool
	blocks   []block
	// lines are those outside of fenced blocks, with their numbers.
	lines []line
}

type line struct {
	number int
	text   string
}

// block is a fenced block.
type block struct {
	line int
	// language is the word after the fence.
	language string
	// marker is the HTML comment on the line before the fence: "background", "needs:
	// a replica set". Empty: none.
	marker string
	lines  []string
}

func (b *block) text() string { return strings.Join(b.lines, "\n") }

var (
	heading = regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)
	marker  = regexp.MustCompile(`^<!-- (.*) -->$`)
	markup  = regexp.MustCompile("\\[([^]]*)\\]\\([^)]*\\)|[`*]")
)

func parsePage(name, text string) *page {
	p := &page{name: name, anchors: map[string]bool{}}
	var open *block
	last := ""
	for i, text := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(text, "```")
		switch {
		case open != nil && isFence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, text)
		case isFence:
			open = &block{line: i + 1, language: fence}
			if m := marker.FindStringSubmatch(last); m != nil {
				open.marker = m[1]
			}
		default:
			p.lines = append(p.lines, line{i + 1, text})
			if m := heading.FindStringSubmatch(text); m != nil {
				p.addHeading(markup.ReplaceAllString(m[1], "$1"))
			}
		}
		last = text
	}
	return p
}

func (p *page) addHeading(text string) {
	p.headings = append(p.headings, text)
	anchor := slug(text)
	for n := 1; p.anchors[anchor]; n++ {
		anchor = fmt.Sprintf("%s-%d", slug(text), n)
	}
	p.anchors[anchor] = true
}

// slug is the anchor that GitHub makes of a heading.
func slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hasHeading reports whether a heading begins with this text, in any letter case.
func (p *page) hasHeading(text string) bool {
	for _, h := range p.headings {
		if strings.HasPrefix(strings.ToLower(h), strings.ToLower(text)) {
			return true
		}
	}
	return false
}
