package delays

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// quietPace is the time between two requests for keys that nobody changes.
	quietPace = 10 * time.Millisecond
	// A key that is being revoked is asked for again after a fiftieth of the time since
	// its revocation, within these limits.
	shortestPause, longestPause, pauseShare = time.Millisecond, 50 * time.Millisecond, 50
	// refusedPause is the pause after the first refusal: the key must not come back.
	refusedPause = time.Second
	// refusalTimeout is how long the last revoked keys may take to be acknowledged and
	// refused.
	refusalTimeout = time.Minute
)

// revocation is one key that is switched off, and what the daemon answers about it.
type revocation struct {
	// acknowledged is closed when acknowledgedAt is set.
	acknowledged         chan struct{}
	sent, acknowledgedAt time.Time
	// refused is the first answer that says that the key is switched off. Its zero
	// value: there was none.
	refused answer
	// accepted is the last VALID by the time of its request.
	accepted answer
	// newest is the newest time whose changes a VALID claims to contain.
	newest time.Time
	// wrong is an answer that is neither VALID, DISABLED nor UNAVAILABLE.
	wrong auth.Code
}

// load revokes keys, asks for them until they are refused, and asks for quiet keys at a
// constant pace.
type load struct {
	ask      func(ctx context.Context, key string) answer
	hangUp   func()
	revoke   func(ctx context.Context, key int) error
	cancel   context.CancelFunc
	revoking context.CancelFunc
	group    sync.WaitGroup
	writers  sync.WaitGroup

	mutex       sync.Mutex
	revocations []*revocation
	quiet       []answer
	// pending counts acknowledgements and refusals that are still to come.
	pending int
	failure error
}

// startLoad starts to ask and to revoke, beginning with the next key.
func (r *run) startLoad(ctx context.Context) *load {
	ctx, cancel := context.WithCancel(ctx)
	revoking, stopRevoking := context.WithCancel(ctx)
	c := newCaller(r.Daemon)
	l := &load{ask: c.ask, hangUp: c.client.CloseIdleConnections, revoke: r.Revoke, cancel: cancel, revoking: stopRevoking}
	l.group.Go(func() {
		for i := 0; timing.Sleep(ctx, quietPace); i++ {
			key := r.Quiet[i%len(r.Quiet)]
			l.group.Go(func() { l.addQuiet(l.ask(ctx, key), ctx.Err() != nil) })
		}
	})
	l.writers.Go(func() {
		for timing.Sleep(revoking, time.Second/time.Duration(r.Rate)) {
			if r.next == len(r.Keys) {
				l.fail(errKeys)
				return
			}
			l.begin(ctx, r.next, r.Keys[r.next])
			r.next++
		}
	})
	return l
}

func (l *load) addQuiet(a answer, cut bool) {
	if cut {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.quiet = append(l.quiet, a)
}

func (l *load) fail(err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.failure = errors.Join(l.failure, err)
}

// begin revokes a key, and asks for it until ctx ends.
func (l *load) begin(ctx context.Context, index int, key string) {
	v := &revocation{acknowledged: make(chan struct{}), sent: time.Now()}
	l.mutex.Lock()
	l.revocations = append(l.revocations, v)
	l.pending += 2
	l.mutex.Unlock()
	l.group.Go(func() {
		err := l.revoke(ctx, index)
		at := time.Now()
		if err != nil {
			if ctx.Err() == nil {
				l.fail(fmt.Errorf("revoking a key: %w", err))
			}
			return
		}
		l.mutex.Lock()
		v.acknowledgedAt = at
		l.pending--
		l.mutex.Unlock()
		close(v.acknowledged)
	})
	l.group.Go(func() {
		for ctx.Err() == nil {
			a := l.ask(ctx, key)
			if ctx.Err() != nil {
				return
			}
			v.rest(ctx, l.note(v, a))
		}
	})
}

// note records an answer, and returns how long to wait before the next request.
func (l *load) note(v *revocation, a answer) time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	switch a.code {
	case auth.Valid:
		v.accepted = a
		if asOf := a.sent.Add(-a.staleness); asOf.After(v.newest) {
			v.newest = asOf
		}
	case auth.Disabled:
		if v.refused.received.IsZero() {
			v.refused = a
			l.pending--
		}
	case auth.Unavailable, noAnswer:
	default:
		v.wrong = a.code
	}
	if !v.refused.received.IsZero() {
		return refusedPause
	}
	since := v.sent
	if v.acknowledgedAt.After(since) {
		since = v.acknowledgedAt
	}
	return min(max(a.received.Sub(since)/pauseShare, shortestPause), longestPause)
}

// rest waits. The acknowledgement ends a wait that began before it.
func (v *revocation) rest(ctx context.Context, pause time.Duration) {
	acknowledged := v.acknowledged
	select {
	case <-acknowledged:
		acknowledged = nil
	default:
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-acknowledged:
	case <-ctx.Done():
	}
}

// finish stops to revoke, waits until every revocation is acknowledged and every revoked
// key refused, and stops to ask.
func (l *load) finish(ctx context.Context) error {
	l.revoking()
	l.writers.Wait()
	ctx, cancel := context.WithTimeout(ctx, refusalTimeout)
	defer cancel()
	for l.open() > 0 && timing.Sleep(ctx, shortestPause) {
	}
	l.stop()
	return l.failure
}

// open returns how many acknowledgements and refusals are still to come.
func (l *load) open() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.failure != nil {
		return 0
	}
	return l.pending
}

// stop ends everything.
func (l *load) stop() {
	l.cancel()
	l.writers.Wait()
	l.group.Wait()
	l.hangUp()
}
