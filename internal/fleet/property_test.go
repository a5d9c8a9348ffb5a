package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/clustertime"
)

// randomFleet is a fleet on a database whose primaries have clocks up to 10 s
// off, with failovers, instances that are silent, cut off, slow or killed, and
// an observer that is paused at the worst moments. All of it runs on a
// simulated clock.
type randomFleet struct {
	*Fleet
	random *rand.Rand
	// pauses means that the observer is paused now and then.
	pauses bool

	mutex sync.Mutex
	// log is the cluster time of the last write that a majority has.
	log clustertime.Time
	// primary is how far the wall clock of the current primary is ahead.
	primary time.Duration
	// lists are the list as it was at each cluster time from firstTime on.
	lists [][]heartbeat
	nonce int
	all   []*member
	// asleep is for how long the observer's monotonic clock has stopped,
	// which it does since frozen, unless that is zero.
	asleep time.Duration
	frozen time.Time
	// promised is the newest revision for which a write acknowledgement was
	// returned.
	promised clustertime.Time
	// sent is when each of the observer's heartbeats was really sent, by its
	// own clock.
	sent map[time.Time]time.Time
	// checked is the last snapshot that was checked.
	checked *snapshot
	synced  int
	dropped int
	wrong   []string
}

// member is an instance, and what it would answer from its cache.
type member struct {
	id       string
	maxStale time.Duration
	// slow is the share by which its clock is slower than the others'.
	slow float64
	// asOf is the time before the heartbeat of its last round trip was sent.
	asOf      time.Time
	processed clustertime.Time
	killed    time.Time
	// history is each asOf, and since when it counts.
	history []landing
}

type landing struct{ at, asOf time.Time }

// answers reports whether it may answer from its cache.
func (m *member) answers(now time.Time) bool {
	age := time.Duration(float64(now.Sub(m.asOf)) * (1 - m.slow))
	return m.killed.IsZero() && !m.asOf.IsZero() && age <= m.maxStale
}

// answered reports whether it could have answered then.
func (m *member) answered(then time.Time) bool {
	was := member{maxStale: m.maxStale, slow: m.slow}
	for _, l := range m.history {
		if !l.at.After(then) {
			was.asOf = l.asOf
		}
	}
	if !m.killed.IsZero() && m.killed.Before(then) {
		was.killed = m.killed
	}
	return was.answers(then)
}

// between returns a random time.
func (s *randomFleet) between(least, most time.Duration) time.Duration {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return least + time.Duration(s.random.Int64N(int64(most-least)+1))
}

func (s *randomFleet) chance(p float64) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.random.Float64() < p
}

// clock is the observer's clock.
func (s *randomFleet) clock() time.Time {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.frozen.IsZero() {
		return s.frozen.Add(-s.asleep)
	}
	return time.Now().Add(-s.asleep)
}

// pause stops the observer for a while, now and then. Its clock continues or
// stops.
func (s *randomFleet) pause() {
	if !s.pauses || !s.chance(0.03) {
		return
	}
	d, suspended := s.between(0, 90*time.Second), s.chance(0.5)
	s.mutex.Lock()
	suspended = suspended && s.frozen.IsZero()
	if suspended {
		s.frozen = time.Now()
	}
	s.mutex.Unlock()
	time.Sleep(d)
	if suspended {
		s.mutex.Lock()
		s.asleep += time.Since(s.frozen)
		s.frozen = time.Time{}
		s.mutex.Unlock()
	}
}

const (
	firstTime = clustertime.Time(100)
	// maxLag is how many writes a read without a cluster time may miss: those
	// of about a second.
	maxLag = 4
)

// write adds a write to the oplog that does not change the list. The caller
// holds the lock.
func (s *randomFleet) write() clustertime.Time {
	s.lists = append(s.lists, s.lists[len(s.lists)-1])
	s.log++
	return s.log
}

// commit writes an instance's document. The caller holds the lock.
func (s *randomFleet) commit(m *member) clustertime.Time {
	at := s.write()
	s.nonce++
	list := slices.DeleteFunc(slices.Clone(s.lists[at-firstTime]), func(h heartbeat) bool { return h.key == m.id })
	s.lists[at-firstTime] = append(list, heartbeat{
		key: m.id, version: fmt.Sprint(s.nonce), maxStale: m.maxStale,
		Instance: Instance{ID: m.id, Revision: m.processed, LastSeen: time.Now().Add(s.primary)},
	})
	return at
}

// beat is the round trip of one heartbeat: sent at asOf, committed, and
// received after lag.
func (s *randomFleet) beat(m *member, asOf time.Time, lag time.Duration) clustertime.Time {
	s.mutex.Lock()
	at := s.commit(m)
	s.mutex.Unlock()
	time.Sleep(lag)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if asOf.After(m.asOf) {
		m.asOf, m.processed = asOf, at-1
		m.history = append(m.history[max(0, len(m.history)-200):], landing{time.Now(), asOf})
	}
	return at
}

// live simulates another instance.
func (s *randomFleet) live(ctx context.Context, m *member) {
	for ctx.Err() == nil && m.killed.IsZero() {
		asOf := time.Now()
		time.Sleep(s.between(0, 500*time.Millisecond))
		s.beat(m, asOf, s.between(0, 500*time.Millisecond))
		switch {
		case s.chance(0.005):
			s.mutex.Lock()
			m.killed = time.Now()
			s.mutex.Unlock()
		case s.chance(0.06): // cut off, or paused
			time.Sleep(s.between(0, 2*m.maxStale))
		default:
			time.Sleep(s.between(0, time.Second))
		}
	}
}

// Beat makes the random fleet the observer's Heartbeater.
func (s *randomFleet) Beat(context.Context) (clustertime.Time, error) {
	asOf := s.clock()
	s.mutex.Lock()
	own := s.all[0]
	s.sent[asOf] = time.Now()
	s.mutex.Unlock()
	s.pause()
	at := s.beat(own, asOf, s.between(0, 200*time.Millisecond))
	s.pause()
	s.NotifyProgress()
	return at, nil
}

func (s *randomFleet) fresh() (time.Time, clustertime.Time) {
	defer s.pause()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.all[0].asOf, s.all[0].processed
}

// readSnapshot reads the list from a snapshot that is not older than after.
func (s *randomFleet) readSnapshot(_ context.Context, after clustertime.Time, _ bool) ([]heartbeat, error) {
	s.pause()
	time.Sleep(s.between(0, 100*time.Millisecond))
	s.mutex.Lock()
	oldest := max(after, firstTime)
	// Without pauses always, so that something can be checked about dead
	// instances.
	if !s.pauses || s.random.Float64() < 0.9 {
		oldest = max(oldest, s.log-maxLag)
	}
	all := slices.Clone(s.lists[oldest-firstTime+clustertime.Time(s.random.Int64N(int64(s.log-oldest)+1))])
	s.mutex.Unlock()
	s.pause()
	return all, nil
}

// ask requests write acknowledgements of the fleet, with long silences in
// between.
func (s *randomFleet) ask(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(s.between(0, 30*time.Second))
		s.mutex.Lock()
		revision := s.write() // someone revokes a key
		s.mutex.Unlock()
		limited, cancel := context.WithTimeout(ctx, s.between(time.Second, 40*time.Second))
		began := time.Now()
		outcome, err := s.Wait(limited, revision, ScopeFleet)
		cancel()
		s.mutex.Lock()
		if err == nil && outcome.Synced {
			s.synced++
			s.promised = max(s.promised, revision)
		}
		if !s.pauses && err == nil {
			s.checkDead(began, outcome.Instances)
		}
		s.mutex.Unlock()
	}
}

// deadFor is how long after its end an instance may still be on a list.
func deadFor(maxStale time.Duration) time.Duration {
	const slack = 2 * time.Second // reads, and the age of the freshness
	return maxStale + Margin + DefaultPollInterval + DefaultPollInterval/10 + slack
}

// checkDead looks for instances that should have been dropped before a wait
// began.
func (s *randomFleet) checkDead(began time.Time, listed []Instance) {
	for _, m := range s.all {
		if m.killed.IsZero() || began.Sub(m.killed) < deadFor(m.maxStale) {
			continue
		}
		s.dropped++
		for _, i := range listed {
			if i.ID == m.id {
				s.wrong = append(s.wrong, fmt.Sprintf("%s is on the list %v after its end", m.id, began.Sub(m.killed)))
			}
		}
	}
}

// check compares what every instance would answer with what was acknowledged,
// and reports whether nothing has been wrong so far.
func (s *randomFleet) check() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, m := range s.all[1:] {
		if m.answers(time.Now()) && m.processed < s.promised {
			s.wrong = append(s.wrong, fmt.Sprintf("%s answers from memory as of %d, %v old, and a write acknowledgement promised %d",
				m.id, m.processed, time.Since(m.asOf), s.promised))
		}
	}
	if l := s.poll.newerThan(0); l != nil && l != s.checked {
		s.checked = l
		s.checkDropped(l)
	}
	return len(s.wrong) == 0
}

// checkDropped looks for instances that were dropped although they could have
// answered at the time of the snapshot.
func (s *randomFleet) checkDropped(l *snapshot) {
	instances, known := l.live(self)
	if !known {
		return
	}
	for _, m := range s.all[1:] {
		listed := slices.ContainsFunc(l.all, func(h heartbeat) bool { return h.ID == m.id })
		counts := slices.ContainsFunc(instances, func(i Instance) bool { return i.ID == m.id })
		if listed && !counts && m.answered(s.sent[l.until]) {
			s.wrong = append(s.wrong, m.id+" is dropped, and answers")
		}
	}
}

// runRandomFleet runs a random fleet for half an hour of simulated time, or
// until something is wrong.
func runRandomFleet(t *testing.T, seed uint64, pauses bool) (result *randomFleet) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &randomFleet{random: rand.New(rand.NewPCG(seed, 0)), pauses: pauses, log: firstTime, lists: make([][]heartbeat, 1), sent: map[time.Time]time.Time{}}
		result = s
		f, err := New(Config{
			Heartbeats: (&mongo.Client{}).Database("db").Collection("beats"), Namespace: "db.keys", Self: self,
			Heartbeater: s, Fresh: s.fresh, Now: s.clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		f.read, s.Fleet = s.readSnapshot, f
		ctx, stop := context.WithCancel(context.Background())
		var group sync.WaitGroup
		s.all = append(s.all, &member{id: self, maxStale: 15 * time.Second})
		for i := range 3 {
			s.all = append(s.all, &member{
				id: fmt.Sprintf("%c/1", 'a'+i), maxStale: s.between(2*time.Second, 15*time.Second), slow: float64(i) / 10,
			})
		}
		for _, m := range s.all[1:] {
			group.Go(func() { s.live(ctx, m) })
		}
		group.Go(func() { _ = f.Run(ctx) })
		group.Go(func() { s.ask(ctx) })
		group.Go(func() { // the observer's heartbeats, when no caller waits
			for ctx.Err() == nil {
				_, _ = s.Beat(ctx)
				time.Sleep(time.Second)
			}
		})
		group.Go(func() { // failovers
			for ctx.Err() == nil {
				primary := s.between(-10*time.Second, 10*time.Second)
				s.mutex.Lock()
				s.primary = primary
				s.mutex.Unlock()
				time.Sleep(s.between(0, 30*time.Second))
			}
		})
		for began := time.Now(); time.Since(began) < 30*time.Minute && s.check(); time.Sleep(100 * time.Millisecond) {
		}
		stop()
		group.Wait()
	})
	return result
}

// seeds is how many storms of each kind are run.
const seeds = 24

// TestWriteAcknowledgementsHoldWithAnyClocks: no write acknowledgement is
// returned while an instance may still answer from before its revision; and
// without pauses of the observer no list contains a dead instance deadFor after
// its end.
func TestWriteAcknowledgementsHoldWithAnyClocks(t *testing.T) {
	for _, pauses := range []bool{true, false} {
		synced, dropped := 0, 0
		for seed := range uint64(seeds) {
			s := runRandomFleet(t, seed, pauses)
			synced, dropped = synced+s.synced, dropped+s.dropped
			for _, wrong := range s.wrong {
				t.Errorf("pauses %v, seed %d: %s", pauses, seed, wrong)
			}
		}
		t.Logf("pauses %v: %d write acknowledgements were synced, dead instances were updated for %d times", pauses, synced, dropped)
		if synced < seeds || !pauses && dropped < seeds {
			t.Error("that proves nothing")
		}
	}
}
