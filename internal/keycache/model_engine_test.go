package keycache_test

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"
)

// The search: every state that can be reached, breadth first, so that the first
// violation found is one of the shortest. States are small structs of bytes and
// are compared byte for byte, never by a fingerprint: two states that are mistaken
// for each other would be a gap in the proof.

// space is a model: where it begins and what may happen next.
type space[S comparable] struct {
	initial []S
	// next adds every step that is possible in s.
	next func(s *S, out *steps[S])
}

// kindOfAnswer is for counting: a model without answers proves nothing.
type kindOfAnswer uint8

const (
	answerHit kindOfAnswer = iota
	answerNegative
	answerShared
	answerAlone
	answerAbsence
	answerFront
	answerRefusal
	answerKinds
)

func (k kindOfAnswer) String() string {
	return [...]string{"hits", "negatives", "shared reads", "reads alone", "absences", "hits in the front", "refusals"}[k]
}

// stepTo is one step: the state that it leads to, and a text that is formatted
// only when a trace is printed.
type stepTo[S comparable] struct {
	to    S
	words string
	args  [4]uint8
	// wrong is why the answer in this step is a violation, empty if it is none.
	wrong string
}

func (s *stepTo[S]) String() string {
	var args []any
	for i := range s.args {
		args = append(args, s.args[i])
	}
	// The number of verbs shows how many of the four are used.
	n := 0
	for i := range len(s.words) {
		if s.words[i] == '%' {
			n++
		}
	}
	return fmt.Sprintf(s.words, args[:n]...)
}

// steps collects what is possible in one state.
type steps[S comparable] struct {
	list    []stepTo[S]
	answers [answerKinds]int
}

func (o *steps[S]) add(to S, words string, args ...uint8) {
	e := stepTo[S]{to: to, words: words}
	copy(e.args[:], args)
	o.list = append(o.list, e)
}

// answer adds a step that answers a caller; wrong is empty for a correct answer.
func (o *steps[S]) answer(kind kindOfAnswer, to S, wrong, words string, args ...uint8) {
	o.add(to, words, args...)
	o.list[len(o.list)-1].wrong = wrong
	o.answers[kind]++
}

// outcome is that of a search.
type outcome struct {
	states, steps, depth int
	answers              [answerKinds]int
	took                 time.Duration
	// wrong and trace describe the first violation.
	wrong string
	trace []string
}

func (f *outcome) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d, %.1fs", f.states, f.steps, f.depth, f.took.Seconds())
}

// log prints the trace for a person to follow.
func (f *outcome) log(t *testing.T) {
	t.Helper()
	text := ""
	for i, words := range f.trace {
		text += fmt.Sprintf("\n%4d  %s", i+1, words)
	}
	t.Logf("%s, in %d steps (%d states searched):%s", f.wrong, len(f.trace), f.states, text)
}

// mostStates limits the memory of a search (some 10 GiB).
const mostStates = 150_000_000

// search ends at the first violation, or when there is nothing new.
func search[S comparable](t *testing.T, m space[S]) outcome {
	t.Helper()
	started := time.Now()
	v := newVisited[S]()
	for i := range m.initial {
		v.add(&m.initial[i], 0)
	}
	var f outcome
	var out steps[S]
	levelEnds := v.count
	for at := 0; at < v.count; at++ { //nolint:intrange // count grows while the search goes on
		if at == levelEnds {
			f.depth++
			levelEnds = v.count
		}
		s := *v.state(at)
		out.list = out.list[:0]
		m.next(&s, &out)
		f.steps += len(out.list)
		for i := range out.list {
			if out.list[i].wrong != "" {
				f.wrong = out.list[i].wrong
				f.trace = append(v.trace(m, at), out.list[i].String())
				f.states, f.answers, f.took = v.count, out.answers, time.Since(started)
				return f
			}
			v.add(&out.list[i].to, at)
		}
		if v.count > mostStates {
			t.Fatalf("more than %d states: choose smaller bounds", mostStates)
		}
	}
	f.states, f.answers, f.took = v.count, out.answers, time.Since(started)
	return f
}

const (
	chunkBits = 14
	chunkSize = 1 << chunkBits
)

// visited contains the states in the order in which they were found, which is also
// the queue of the search. It finds them again by open addressing.
type visited[S comparable] struct {
	seed    maphash.Seed
	chunks  [][]S
	parents [][]uint32
	count   int
	// table holds a state's index plus one; zero is empty. Its length is a power
	// of two, and at most half of it is used.
	table []uint32
}

func newVisited[S comparable]() *visited[S] {
	return &visited[S]{seed: maphash.MakeSeed(), table: make([]uint32, 1<<16)}
}

func (v *visited[S]) state(at int) *S { return &v.chunks[at>>chunkBits][at&(chunkSize-1)] }

func (v *visited[S]) parent(at int) int {
	return int(v.parents[at>>chunkBits][at&(chunkSize-1)])
}

// add takes in a state unless it is known.
func (v *visited[S]) add(s *S, parent int) {
	mask := uint64(len(v.table) - 1)
	slot := maphash.Comparable(v.seed, *s) & mask
	for ; v.table[slot] != 0; slot = (slot + 1) & mask {
		if *v.state(int(v.table[slot] - 1)) == *s {
			return
		}
	}
	if v.count&(chunkSize-1) == 0 {
		v.chunks = append(v.chunks, make([]S, chunkSize))
		v.parents = append(v.parents, make([]uint32, chunkSize))
	}
	*v.state(v.count) = *s
	v.parents[v.count>>chunkBits][v.count&(chunkSize-1)] = uint32(parent)
	v.count++
	v.table[slot] = uint32(v.count)
	if 2*v.count > len(v.table) {
		v.grow()
	}
}

func (v *visited[S]) grow() {
	v.table = make([]uint32, 2*len(v.table))
	mask := uint64(len(v.table) - 1)
	for at := range v.count {
		slot := maphash.Comparable(v.seed, *v.state(at)) & mask
		for v.table[slot] != 0 {
			slot = (slot + 1) & mask
		}
		v.table[slot] = uint32(at + 1)
	}
}

// trace lists the steps that lead to a state. Only the parents are stored; the
// texts come from taking each step again.
func (v *visited[S]) trace(m space[S], at int) []string {
	var places []int
	for ; at >= len(m.initial); at = v.parent(at) {
		places = append(places, at)
	}
	words := []string{}
	for i := len(places) - 1; i >= 0; i-- {
		var out steps[S]
		m.next(v.state(v.parent(places[i])), &out)
		for j := range out.list {
			if out.list[j].to == *v.state(places[i]) {
				words = append(words, out.list[j].String())
				break
			}
		}
	}
	return words
}
