package simulation

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keystore"
)

// state is the collection as a majority had it from some moment until the next state.
type state struct {
	from time.Time
	// time is the cluster time of the change that led to it.
	time clustertime.Time
	// missing: the collection does not exist.
	missing   bool
	documents []keystore.Document
	// history counts the restores before it.
	history int
}

// truth has every state that the collection really had: answers are judged by it. Nothing about it is uncertain: it is noted in the moment in which a
// command is executed.
type truth struct {
	schema keystore.Schema

	mutex   sync.Mutex
	states  []state
	pending []state // what the majority does not have yet
	missing bool
	history int
}

// note adds the state of main. held: the majority does not have it yet.
func (h *truth) note(reply bson.D, held bool) *state {
	part, _ := lookup(reply, "cursor").(bson.D)
	raw, _ := lookup(part, "firstBatch").([]bson.Raw)
	at, _ := lookup(reply, "operationTime").(bson.Timestamp)
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.missing = h.missing && len(raw) == 0 // an insert creates the collection
	s := state{from: time.Now(), time: clustertime.New(at.T, at.I), missing: h.missing, history: h.history}
	for _, document := range raw {
		s.documents = append(s.documents, h.schema.Decode(document))
	}
	if held {
		h.pending = append(h.pending, s)
	} else {
		h.states = append(h.states, s)
	}
	return &s
}

// commit: the majority has everything now.
func (h *truth) commit() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for _, s := range h.pending {
		s.from = time.Now()
		h.states = append(h.states, s)
	}
	h.pending = nil
}

// rollback: what the majority does not have is undone.
func (h *truth) rollback() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.pending = nil
	h.missing = h.states[len(h.states)-1].missing
}

// restored: another history begins.
func (h *truth) restored() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.pending, h.missing = nil, false
	h.history++
}

// exists notes whether the collection exists. The next note has it.
func (h *truth) exists(exists bool) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.missing = !exists
}

// restores is how many restores there have been.
func (h *truth) restores() int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.history
}

// between returns the states that the collection had between two moments, both included, and of these
// only what contains every change up to revision.
func (h *truth) between(from, to time.Time, revision clustertime.Time) []state {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	first, _ := slices.BinarySearchFunc(h.states, from, func(s state, t time.Time) int { return s.from.Compare(t) })
	first = max(0, first-1)
	last := first
	for last < len(h.states) && !h.states[last].from.After(to) {
		last++
	}
	found := h.states[first:last]
	if len(found) > 0 && found[0].history != found[len(found)-1].history {
		return found // two histories have the same times
	}
	for i := len(found) - 1; i >= 0; i-- {
		if found[i].time <= revision {
			return found[i:]
		}
	}
	return found
}

// wasMissing reports whether the collection did not exist from one moment until another.
func (h *truth) wasMissing(from, to time.Time) bool {
	states := h.between(from, to, 0)
	return !slices.ContainsFunc(states, func(s state) bool { return !s.missing })
}

// answer is an answer about a key.
type answer struct {
	number       int
	key          *key
	asked, given time.Time
	// restores is how many restores there had been at the time of the request. lost: the cache had lost its
	// history then, and knew it.
	restores int
	lost     bool
	request  apikey.Request
	// reached: the request's revision is one that a writer had been told of.
	reached bool
	verdict apikey.Verdict
}

func (a *answer) String() string {
	v := &a.verdict
	text := fmt.Sprintf("#%d %s: %v from %v, as of %s", a.number, a.key.name, v.Code, v.Source, clock(v.AsOf))
	if v.Record != nil {
		text += " " + describe(v.Record)
	}
	if v.Problem != apikey.NoProblem {
		text += fmt.Sprintf(" problem %v", v.Problem)
	}
	return text + fmt.Sprintf(", revision %v, asked for %v at %s", clustertime.Time(v.Revision), clustertime.Time(a.request.MinRevision), clock(a.asked))
}

// wrong returns what is wrong with an answer, empty if nothing is.
func (h *truth) wrong(a *answer, maxStale time.Duration) string {
	v := &a.verdict
	if v.Code == apikey.Unavailable {
		if v.Problem == apikey.RevisionAhead && a.reached && h.restores() == a.restores {
			return "a revision that a writer has been told of is said to be ahead"
		}
		return ""
	}
	decided := v.AsOf.Add(v.Staleness)
	switch {
	case decided.Before(a.asked) || decided.After(a.given):
		return fmt.Sprintf("the staleness is wrong: as of and staleness make %s", clock(decided))
	case v.Staleness > maxStale:
		return fmt.Sprintf("the staleness %v is more than max_stale", v.Staleness)
	case v.Revision < a.request.MinRevision:
		return "the revision is not the one that was asked for"
	case a.request.MinRevision > soon && v.Source != apikey.SourceLinearizable:
		// A linearizable read contains every revision that someone has been told of.
		return "a revision of the future was reached"
	}
	revision := clustertime.Time(v.Revision)
	if h.restores() != a.restores || v.Revision > soon {
		revision = 0 // two histories have the same times, or the revision is the one that was asked for
	}
	states := h.between(v.AsOf, a.given, revision)
	if v.Code == apikey.NotFound && a.lost && h.wasMissing(a.asked, a.given) {
		return "the collection did not exist, and the cache had lost its history: nothing is known about a key then"
	}
	restored := states[0].history != states[len(states)-1].history
	for i := range states {
		if states[i].explains(a, decided) || restored && states[i].mayBeRefused(a) {
			return ""
		}
	}
	if explainSeparately(states, a, decided) {
		return ""
	}
	text := "no state of the key explains the answer; from as of until the answer it was:"
	for i := range states {
		text += "\n    " + states[i].describe(a.key)
	}
	return text
}

// explains reports whether an answer is right in this state.
func (s *state) explains(a *answer, decided time.Time) bool {
	documents := s.of(a.key)
	v := &a.verdict
	switch {
	case len(documents) == 0:
		return v.Code == apikey.NotFound
	case v.Record == nil:
		return false
	case len(documents) == 1:
		return isOf(v, documents[0], &a.request, decided)
	default:
		return v.Code == apikey.Disabled // it does not matter which document it shows
	}
}

// explainSeparately reports whether an answer is right if each document is taken as it was at a time of its own. That
// holds where several documents have had the key's hash at the same time (keycache/DESIGN.md, "Two documents with
// one hash").
func explainSeparately(states []state, a *answer, decided time.Time) bool {
	shared := func(s state) bool { return len(s.of(a.key)) > 1 }
	if !slices.ContainsFunc(states, shared) {
		return false
	}
	for _, id := range documents {
		own := a.verdict.Record != nil && a.verdict.Record.KeyID == id
		if !own && a.verdict.Record != nil && a.verdict.Code != apikey.Valid {
			continue // a refusal needs no other document
		}
		fits := func(s state) bool {
			d := s.document(id, a.key)
			if own {
				return d != nil && isOf(&a.verdict, d, &a.request, decided)
			}
			return d == nil || a.verdict.Record != nil && d.Record.Active && d.Record.Defect == ""
		}
		if !slices.ContainsFunc(states, fits) {
			return false
		}
	}
	return true
}

// document is a document if a lookup by the key's hash finds it.
func (s *state) document(id string, k *key) *keystore.Document {
	for _, d := range s.of(k) {
		if d.Record.KeyID == id {
			return d
		}
	}
	return nil
}

// mayBeRefused reports whether an answer refuses a document that the key has in this state. Until a restore is
// noticed, an event of the new history can refuse a document as it was in the old one (changestream/DESIGN.md, "A
// restore is a loss").
func (s *state) mayBeRefused(a *answer) bool {
	refused := a.verdict.Code == apikey.Disabled || a.verdict.Code == apikey.Expired
	return refused && slices.ContainsFunc(s.of(a.key), func(d *keystore.Document) bool { return d.Record.KeyID == a.verdict.Record.KeyID })
}

// isOf reports whether a verdict is that of a document.
func isOf(v *apikey.Verdict, d *keystore.Document, request *apikey.Request, decided time.Time) bool {
	return v.Code == apikey.Decide(&d.Record, request, decided) && describe(v.Record) == describe(&d.Record)
}

// of returns the documents that a lookup by the key's hash finds.
func (s *state) of(k *key) []*keystore.Document {
	var found []*keystore.Document
	for i := range s.documents {
		if d := &s.documents[i]; d.HasHash && d.Hash == k.hash || slices.Contains(d.OtherHashes, k.hash) {
			found = append(found, d)
		}
	}
	return found
}

func (s *state) describe(k *key) string {
	text := fmt.Sprintf("%s (%v): ", clock(s.from), s.time)
	if s.missing {
		text += "no collection "
	}
	for _, d := range s.of(k) {
		text += describe(&d.Record) + " "
	}
	return text
}

// describe is everything of a record that a change can change.
func describe(r *apikey.Record) string {
	text := fmt.Sprintf("%s %s scopes=%v metadata=%s", r.KeyID, r.Name, r.Scopes, r.Metadata)
	if !r.Active {
		text += " off"
	}
	if r.Defect != "" {
		text += " defect=" + r.Defect
	}
	if !r.ExpiresAt.IsZero() {
		text += " expires=" + clock(r.ExpiresAt)
	}
	return text
}

// began is when synctest's clock begins.
var began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is a moment as the time since the beginning of the run.
func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%.6fs", t.Sub(began).Seconds())
}
