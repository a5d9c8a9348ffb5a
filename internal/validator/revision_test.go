package validator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// fakeHeartbeater returns the current cluster time of a fake cluster.
type fakeHeartbeater struct {
	mutex sync.Mutex
	now   clustertime.Time
	err   error
	takes time.Duration
	beats int
}

func (p *fakeHeartbeater) Beat(ctx context.Context) (clustertime.Time, error) {
	if _, ok := ctx.Deadline(); !ok {
		return 0, errors.New("a heartbeat without a deadline")
	}
	p.mutex.Lock()
	p.beats++
	now, err, takes := p.now, p.err, p.takes
	p.mutex.Unlock()
	time.Sleep(takes)
	return now, err
}

func withHeartbeater(p *fakeHeartbeater) func(*Config) {
	return func(c *Config) { c.Heartbeater = p }
}

func (r *rig) validateRevision(revision uint64) apikey.Verdict {
	return r.Validate(context.Background(), text, &apikey.Request{MinRevision: revision})
}

func mustContain(t *testing.T, got apikey.Verdict, source apikey.Source, revision uint64) {
	t.Helper()
	mustBe(t, got, apikey.Valid, source)
	if got.Revision != revision || got.Problem != apikey.NoProblem {
		t.Fatalf("revision %d, problem %d, want revision %d", got.Revision, got.Problem, revision)
	}
}

func TestAProcessedRevisionCostsNoRead(t *testing.T) {
	p := &fakeHeartbeater{}
	r := live(t, withHeartbeater(p))
	r.store.put(hash, document("u1"))
	mustContain(t, r.validateRevision(100), apikey.SourceFill, 100)
	mustContain(t, r.validateRevision(100), apikey.SourceCache, 100)
	mustContain(t, r.validateRevision(1), apikey.SourceCache, 100)
	if r.store.count() != 1 || p.beats != 0 {
		t.Fatalf("%d reads, %d heartbeats", r.store.count(), p.beats)
	}
}

func TestAnUnprocessedRevisionCausesAReadAfterIt(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("old"))
	mustContain(t, r.validateRevision(0), apikey.SourceFill, 100)
	r.store.put(hash, document("new"))
	v := r.validateRevision(150)
	mustContain(t, v, apikey.SourceDirect, 150)
	if got := r.store.floors[len(r.store.floors)-1]; got != 150 || v.Record.UserID != "new" {
		t.Fatalf("read after %d, got %+v", got, v.Record)
	}
	// The result is not stored: the cache contains what the stream has
	// processed.
	if v := r.validateRevision(100); v.Source != apikey.SourceCache || v.Record.UserID != "old" {
		t.Fatalf("got %+v of %+v", v, v.Record)
	}
	// The floor is later than the revision.
	r.cache.Apply(&keycache.Change{ID: "other", Time: 170})
	mustContain(t, r.validateRevision(160), apikey.SourceDirect, 160)
	if got := r.store.floors[len(r.store.floors)-1]; got != 170 {
		t.Fatalf("read after %d, want the floor", got)
	}
	r.cache.Lose()
	mustContain(t, r.validateRevision(180), apikey.SourceDirect, 180)
	mustContain(t, r.validateRevision(50), apikey.SourceDirect, 100)
}

func TestARevisionWhileStaleCausesALinearizableRead(t *testing.T) {
	p := &fakeHeartbeater{now: 200}
	for name, r := range map[string]*rig{"with a pulse": stale(t, withHeartbeater(p)), "without": stale(t)} {
		r.store.put(hash, document("u1"))
		mustContain(t, r.validateRevision(150), apikey.SourceLinearizable, 150)
		mustContain(t, r.validateRevision(200), apikey.SourceLinearizable, 200)
		mustContain(t, r.validateRevision(100), apikey.SourceLinearizable, 100)
		if r.store.count() != 0 {
			t.Fatalf("%s: %d reads by the fill rule", name, r.store.count())
		}
	}
	if p.beats != 1 {
		t.Fatalf("%d heartbeats, want one: it was at 200, so 150 and 200 have been reached", p.beats)
	}
	// A heartbeat that fails proves nothing; the read contains every revision
	// that a client was given.
	p.err, p.now = errors.New("no privilege"), 0
	r := stale(t, withHeartbeater(p))
	r.store.put(hash, document("u1"))
	mustContain(t, r.validateRevision(150), apikey.SourceLinearizable, 150)
}

// The heartbeat comes before the read: its duration is not part of the answer's
// age, unless heartbeats have failed, so that the read went first.
func TestAHeartbeatBeforeTheReadDoesNotAge(t *testing.T) {
	p := &fakeHeartbeater{now: 200, takes: time.Second}
	bubble(t, func(t *testing.T, r *rig) {
		r.store.put(hash, document("u1"))
		v := r.validateRevision(150)
		mustContain(t, v, apikey.SourceLinearizable, 150)
		if v.Staleness != 0 {
			t.Fatalf("got %+v", v)
		}
		r.beatFailed.Store(true)
		v = r.validateRevision(201)
		if v.Problem != apikey.RevisionAhead || p.beats != 2 || r.store.linearCount() != 2 {
			t.Fatalf("%d heartbeats, %d reads, got %+v", p.beats, r.store.linearCount(), v)
		}
		p.now = 202
		r.beatFailed.Store(true)
		v = r.validateRevision(202)
		mustContain(t, v, apikey.SourceLinearizable, 202)
		if v.Staleness != time.Second {
			t.Fatalf("got %+v", v)
		}
	}, withHeartbeater(p))
}

// Most revisions belong to a change that the stream has just delivered, and
// `processed` is one tick before it: such a revision costs no heartbeat.
func TestARevisionThatTheStreamHasShownCostsNoHeartbeat(t *testing.T) {
	p := &fakeHeartbeater{now: 200}
	r := live(t, withHeartbeater(p))
	r.store.put(hash, document("u1"))
	r.cache.Apply(&keycache.Change{ID: "other", Time: 150})
	mustContain(t, r.validateRevision(150), apikey.SourceDirect, 150)
	if p.beats != 0 {
		t.Fatalf("%d heartbeats", p.beats)
	}
	// The heartbeat at 200 covers all revisions up to it.
	for _, revision := range []uint64{180, 200, 151} {
		mustContain(t, r.validateRevision(revision), apikey.SourceDirect, revision)
	}
	if p.beats != 1 {
		t.Fatalf("%d heartbeats", p.beats)
	}
}

// While heartbeats fail, a read goes first, and the heartbeat after it shows
// when they succeed again.
func TestWhileHeartbeatsFailTheReadGoesFirst(t *testing.T) {
	p := &fakeHeartbeater{err: errors.New("no primary")}
	r := live(t, withHeartbeater(p))
	r.store.put(hash, document("u1"))
	for range 3 {
		mustContain(t, r.validateRevision(150), apikey.SourceDirect, 150)
	}
	if p.beats != 1 {
		t.Fatalf("%d heartbeats", p.beats)
	}
	p.err, p.now = nil, 200
	r.store.err = fmt.Errorf("reading a key: %w: %w", keystore.ErrRevisionAhead, context.DeadlineExceeded)
	if v := r.validateRevision(201); v.Problem != apikey.RevisionAhead || r.store.count() != 4 {
		t.Fatalf("%d reads, got %+v", r.store.count(), v)
	}
	// Heartbeats succeed again.
	if v := r.validateRevision(202); v.Problem != apikey.RevisionAhead || r.store.count() != 4 {
		t.Fatalf("%d reads, got %+v", r.store.count(), v)
	}
	if got := testutil.ToFloat64(r.metrics.ahead); got != 2 {
		t.Errorf("%v revisions are counted as ahead", got)
	}
}

// A caller that leaves while its heartbeat is in progress causes no read.
func TestACallerThatLeavesDuringTheHeartbeatCausesNoRead(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(testing.TB, ...func(*Config)) *rig{"live": live, "stale": stale} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, withHeartbeater(&fakeHeartbeater{now: 200, takes: time.Second}))
			ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
			defer leave()
			v := r.Validate(ctx, text, &apikey.Request{MinRevision: 150})
			mustBe(t, v, apikey.Unavailable, apikey.SourceNone)
			time.Sleep(2 * time.Second)
			if r.store.count() != 0 || r.store.linearCount() != 0 {
				t.Errorf("%s: %d reads, %d linearizable ones", name, r.store.count(), r.store.linearCount())
			}
		})
	}
}

func TestARevisionAheadIsTheCallersMistake(t *testing.T) {
	ahead := fmt.Errorf("reading a key: %w: %w", keystore.ErrRevisionAhead, context.DeadlineExceeded)
	p := &fakeHeartbeater{now: 200}
	for name, begin := range map[string]func(testing.TB, ...func(*Config)) *rig{"live": live, "stale": stale} {
		r := begin(t, withHeartbeater(p))
		r.store.put(hash, document("u1"))
		r.store.err = ahead
		v := r.validateRevision(201)
		mustBe(t, v, apikey.Unavailable, apikey.SourceNone)
		if v.Problem != apikey.RevisionAhead || v.Record != nil || !v.AsOf.IsZero() || v.Revision != 0 {
			t.Fatalf("%s: got %+v", name, v)
		}
		// A caller's mistake is not an outage.
		if got := r.metrics.verdicts[apikey.Unavailable][apikey.SourceNone].Value(); got != 0 {
			t.Errorf("%s: UNAVAILABLE is counted %v times", name, got)
		}
	}
}

// A revision that cannot be shown to be ahead counts as an outage, and the
// request may be repeated.
func TestARevisionThatMayComeIsUnavailable(t *testing.T) {
	ahead := fmt.Errorf("reading a key: %w: %w", keystore.ErrRevisionAhead, context.DeadlineExceeded)
	for name, c := range map[string]struct {
		err   error
		pulse Heartbeater
		beats int
	}{
		"the cluster has been there":   {ahead, &fakeHeartbeater{now: 201}, 1},
		"the heartbeat fails":          {ahead, &fakeHeartbeater{err: errors.New("no primary")}, 2},
		"there is no pulse":            {ahead, nil, 0},
		"the database does not answer": {context.DeadlineExceeded, &fakeHeartbeater{now: 201}, 1},
	} {
		r := live(t, func(config *Config) { config.Heartbeater = c.pulse })
		r.store.err = c.err
		v := r.validateRevision(201)
		mustBe(t, v, apikey.Unavailable, apikey.SourceNone)
		if v.Problem != apikey.NoProblem {
			t.Errorf("%s: got problem %d", name, v.Problem)
		}
		if p, ok := c.pulse.(*fakeHeartbeater); ok && p.beats != c.beats {
			t.Errorf("%s: %d heartbeats, want %d", name, p.beats, c.beats)
		}
	}
	// Without a revision no heartbeat is needed.
	p := &fakeHeartbeater{now: 1}
	r := live(t, withHeartbeater(p))
	r.store.err = ahead
	mustBe(t, r.validateRevision(0), apikey.Unavailable, apikey.SourceNone)
	r.cache.Lose()
	mustBe(t, r.validateRevision(0), apikey.Unavailable, apikey.SourceNone)
	if p.beats != 0 {
		t.Errorf("%d heartbeats for no revision", p.beats)
	}
}

// A heartbeat is sent after the request, and shared by all requests that
// arrived before it.
func TestHeartbeatsAreSharedAndSentAfterTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeHeartbeater{now: 200, takes: time.Second}
		r := newRig(t, withHeartbeater(p))
		answers := make(chan bool, 4)
		ask := func(revision clustertime.Time) {
			go func() { answers <- r.isAhead(t.Context(), revision) }()
			synctest.Wait()
		}
		ask(300)
		p.mutex.Lock()
		p.now = 300 // a write at 300 is acknowledged, and its revision has been returned
		p.mutex.Unlock()
		for range 3 {
			ask(300)
		}
		if first := <-answers; !first {
			t.Fatal("the first is not ahead")
		}
		for range 3 {
			if <-answers {
				t.Fatal("a heartbeat from before the request shows that its revision is ahead")
			}
		}
		if p.beats != 2 {
			t.Fatalf("%d heartbeats", p.beats)
		}
	})
}

// Reads that are not stored are shared only by callers with the same hash and
// revision.
func TestReadsAfterARevisionAreSharedByHashAndRevision(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := live(t)
		r.store.put(hash, document("u1"))
		r.store.block()
		began := r.store.began
		go func() {
			for range began {
			}
		}()
		verdicts := make(chan apikey.Verdict, 6)
		for _, revision := range []uint64{150, 150, 150, 160, 160} {
			go func() { verdicts <- r.validateRevision(revision) }()
			synctest.Wait()
		}
		if r.store.count() != 2 {
			t.Fatalf("%d concurrent reads, want one for each revision", r.store.count())
		}
		r.store.release()
		for range 5 {
			if v := <-verdicts; v.Code != apikey.Valid || v.Revision < 150 {
				t.Fatalf("got %+v", v)
			}
		}
		synctest.Wait()
		close(began)
		if r.store.count() != 4 {
			t.Fatalf("%d reads for five callers", r.store.count())
		}
	})
}
