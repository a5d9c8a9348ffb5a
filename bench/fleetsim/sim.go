package fleetsim

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/fleet"
	"github.com/keytail/keytail/internal/timing"
	"github.com/keytail/keytail/internal/usage"
)

// Fleet is what is simulated.
type Fleet struct {
	// Instances is how many there are. ActiveKeys is how many keys each of them answers for all the
	// time: after each write of a key's use there is soon another use.
	Instances, ActiveKeys int
	// MaxStale is the maximum staleness.
	MaxStale time.Duration
}

// Rates are what a fleet does to the database in the steady state, all instances together.
type Rates struct {
	// Heartbeats and UsageWrites are writes of documents a second. UsageCommands are the
	// commands that contain the latter.
	Heartbeats, UsageWrites, UsageCommands float64
	// UsagePeak is the most writes of uses in one second since all instances were started at the
	// same moment.
	UsagePeak float64
	// ListReads are reads of the list of instances a second, ListDocuments what they return.
	ListReads, ListDocuments float64
	// Passed is how many oplog entries the servers' streams pass over or deliver a second, of those
	// that keytail itself writes: each stream passes over each entry.
	Passed float64
}

// kind is what an instance does.
type kind uint8

const (
	heartbeat kind = iota
	flush
	listRead
)

// event is the next time at which an instance does something.
type event struct {
	at       time.Duration
	instance int
	kind     kind
}

// queue is a heap of events by time.
type queue []event

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}

// counts are how often something has happened.
type counts struct{ heartbeats, writes, commands, reads int }

// Steady runs a fleet for some virtual time after all instances have started within
// a second, and returns the rates of its second half.
func Steady(f Fleet, lasts time.Duration) Rates {
	s := &simulation{Fleet: f, perSecond: make([]int, lasts/time.Second+1), due: make([][]time.Duration, f.Instances)}
	for i := range f.Instances {
		s.due[i] = make([]time.Duration, f.ActiveKeys)
		start := time.Duration(rand.Int64N(int64(time.Second)))
		for _, k := range []kind{heartbeat, listRead} {
			s.events = append(s.events, event{start, i, k})
		}
		s.events = append(s.events, event{start + s.flushPause(), i, flush})
	}
	heap.Init(&s.events)
	half := lasts / 2
	s.until(half)
	before := s.counts
	s.until(lasts)
	rate := func(was, is int) float64 { return float64(is-was) / (lasts - half).Seconds() }
	r := Rates{
		Heartbeats:    rate(before.heartbeats, s.heartbeats),
		UsageWrites:   rate(before.writes, s.writes),
		UsageCommands: rate(before.commands, s.commands),
		ListReads:     rate(before.reads, s.reads),
	}
	r.ListDocuments = r.ListReads * float64(f.Instances)
	r.Passed = (r.Heartbeats + r.UsageWrites) * float64(f.Instances)
	for _, n := range s.perSecond {
		r.UsagePeak = max(r.UsagePeak, float64(n))
	}
	return r
}

// simulation is a fleet at a moment.
type simulation struct {
	Fleet
	counts
	events queue
	// due has, for each instance and key, when its use may be written again.
	due [][]time.Duration
	// perSecond counts the writes of uses in each second.
	perSecond []int
}

// until lets everything happen before a moment.
func (s *simulation) until(end time.Duration) {
	for s.events[0].at < end {
		e := s.events[0]
		s.events[0].at += s.happens(e)
		heap.Fix(&s.events, 0)
	}
}

// happens does what an instance does, and returns the pause until it does so again.
func (s *simulation) happens(e event) time.Duration {
	switch e.kind {
	case heartbeat:
		s.heartbeats++
		return changestream.HeartbeatInterval(s.Instances, s.MaxStale)
	case listRead:
		s.reads++
		return fleet.IdlePause(fleet.DefaultPollInterval, s.Instances)
	default:
		s.flushes(e)
		return s.flushPause()
	}
}

// flushes writes the keys that are due.
func (s *simulation) flushes(e event) {
	interval, written := usage.KeyInterval(s.Instances), 0
	for k, due := range s.due[e.instance] {
		if due <= e.at {
			s.due[e.instance][k] = e.at + timing.Jitter(interval, usage.Jitter)
			written++
		}
	}
	if written == 0 {
		return
	}
	s.writes += written
	s.commands += (written + usage.BatchSize - 1) / usage.BatchSize
	s.perSecond[e.at/time.Second] += written
}

func (s *simulation) flushPause() time.Duration {
	return timing.Jitter(usage.FlushInterval(s.Instances), usage.Jitter)
}
