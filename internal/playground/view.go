package playground

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// data is what the page shows. Nothing changes it.
type data struct {
	State, StateClass, Explanation string
	Staleness, MaxStale, Timeout   string
	Axis                           []string
	Plot                           plot
	Faults                         []bar
	News, Problem                  string
	Fault                          string
	// Cut and Frozen: that fault lasts.
	Cut, Frozen bool
	// Creating is how many keys wait for MongoDB.
	Creating int
	Full     bool
	TTL      string
	TTLs     []ttlView
	Keys     []keyView
}

// ttlView is a button for a TTL.
type ttlView struct {
	Command, Text string
	Pressed       bool
}

// keyView is a key with its lanes.
type keyView struct {
	Number       int
	Name, Prefix string
	// Valid and Gone are what MongoDB holds.
	Valid, Gone bool
	// Writing says that a write waits for MongoDB. Empty: none does.
	Writing string
	Lanes   []laneView
	Changes []changeView
	Faults  []bar
	Axis    []string
}

// laneView is a lane now, and in the past.
type laneView struct {
	Name, Note string
	// Code is the answer now, and Class its look.
	Code, Class string
	// Age is how old the data of the answer are.
	Age  string
	Bars []bar
	// Text says what the drawing shows.
	Text string
}

// changeView is a change and how it was noticed.
type changeView struct {
	Title string
	Lines []line
}

// stateClasses maps a state to its style; every other one waits.
var stateClasses = map[string]string{"live": "good", "stale": "warn", "down": "bad"}

// snapshot is what the page shows now.
func (p *Playground) snapshot() *data {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.config.Now()
	w := windowSince(p.firstLocked(), now)
	d := &data{
		State: p.state.Name, StateClass: "wait", Explanation: explanation(p.state.Name),
		Staleness: "unknown", MaxStale: shortTime(p.config.MaxStale), Timeout: shortTime(answerTimeout),
		Axis: w.axis(), Plot: w.plot(p.ages, p.config.MaxStale), Faults: w.faultBars(p.faults),
		News: p.news, Problem: p.problem, Cut: p.fault == Cut, Frozen: p.fault == Frozen,
		Creating: p.creating, Full: len(p.keys)+p.creating >= MaxKeys, TTL: shortTime(p.cache.TTL()),
	}
	if class, known := stateClasses[p.state.Name]; known {
		d.StateClass = class
	}
	if p.state.Staleness >= 0 {
		d.Staleness = fmt.Sprintf("%.1f s", p.state.Staleness.Seconds())
	}
	if p.fault != None {
		d.Fault = p.fault.words()
	}
	for _, ttl := range TTLs() {
		d.TTLs = append(d.TTLs, ttlView{commandTTL + strconv.Itoa(int(ttl/time.Second)), shortTime(ttl), ttl == p.cache.TTL()})
	}
	for _, k := range p.keys {
		d.Keys = append(d.Keys, p.viewLocked(k, w, d.Faults))
	}
	return d
}

// firstLocked is when the oldest of what the page shows began. Zero: there is nothing.
func (p *Playground) firstLocked() time.Time {
	var first time.Time
	for _, k := range p.keys {
		if first.IsZero() || k.made.Before(first) {
			first = k.made
		}
	}
	if len(p.faults) > 0 && (first.IsZero() || p.faults[0].from.Before(first)) {
		first = p.faults[0].from
	}
	return first
}

func (p *Playground) viewLocked(k *key, w window, faults []bar) keyView {
	held, _ := k.lanes[laneMongoDB].code()
	v := keyView{
		Number: k.number, Name: k.name(), Prefix: k.prefix, Faults: faults, Axis: w.axis(),
		Valid: held == apikey.Valid, Gone: held == apikey.NotFound,
	}
	if k.writing {
		v.Writing = "The " + k.current().action.noun() + " waits for MongoDB."
	}
	for which, name := range []string{"MongoDB holds", "keytail", "TTL cache, " + shortTime(p.cache.TTL())} {
		v.Lanes = append(v.Lanes, p.laneLocked(k, which, name, w))
	}
	for i := len(k.changes) - 1; i >= 0; i-- {
		v.Changes = append(v.Changes, p.changeLocked(k, k.changes[i], w.to))
	}
	return v
}

func (p *Playground) laneLocked(k *key, which int, name string, w window) laneView {
	l, database := &k.lanes[which], &k.lanes[laneMongoDB]
	v := laneView{Name: name, Bars: w.bars(l, database)}
	code, known := l.code()
	if !known {
		v.Code, v.Class, v.Text = "…", "wait", name+": no answer yet"
		return v
	}
	v.Code, v.Class = code.String(), codeClass(code)
	v.Text = l.text(name, w.to)
	if held, _ := database.code(); code != apikey.Unavailable && code != held {
		v.Code, v.Class = "still "+v.Code, "bad"
	}
	if which == laneMongoDB {
		return v
	}
	if code != apikey.Unavailable {
		v.Age = "data " + age(l.last.Age) + " old"
	} else {
		v.Age = "no data"
	}
	v.Note = reads(l.reads)
	return v
}

func codeClass(code apikey.Code) string {
	switch code { //nolint:exhaustive // the others are refusals
	case apikey.Valid:
		return "good"
	case apikey.Unavailable:
		return "warn"
	}
	return "wait"
}

// age has tenths, because it grows all the time.
func age(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func reads(n int) string {
	if n == 1 {
		return "1 read of MongoDB"
	}
	return fmt.Sprintf("%d reads of MongoDB", n)
}

// textSegments is how many answers a text names.
const textSegments = 3

// text is the past of a lane in words.
func (l *lane) text(name string, now time.Time) string {
	first := max(0, len(l.segments)-textSegments)
	var parts []string
	for _, s := range l.segments[first:] {
		parts = append(parts, s.code.String()+" since "+wholeSeconds(now.Sub(s.from)))
	}
	return name + ": " + strings.Join(parts, ", then ")
}

func (p *Playground) changeLocked(k *key, c *change, now time.Time) changeView {
	v := changeView{Title: "The " + c.action.noun() + " waits for MongoDB."}
	if !c.at.IsZero() {
		done := c.action.done()
		v.Title = strings.ToUpper(done[:1]) + done[1:] + " at " + c.at.UTC().Format("15:04:05") + " UTC."
	}
	for _, which := range []int{laneKeytail, laneTTL} {
		v.Lines = append(v.Lines, c.words(which, k.lanes[which].last.Code, now, p.config.MaxStale))
	}
	return v
}
