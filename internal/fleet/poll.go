package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/timing"
)

// snapshot is the result of one read of the list. It is immutable.
type snapshot struct {
	// number counts the reads: a caller that got a smaller number from join
	// arrived before this read began.
	number uint64
	all    []heartbeat
	// until is a time before which everything that was acknowledged is on the
	// list. Zero: unknown, so no instance counts as dead.
	until time.Time
	err   error
}

// poll is the state that all waits of a Fleet share.
type poll struct {
	mutex sync.Mutex
	// waiting maps the number of each waiting caller to the cluster time before
	// which the list must not have been read.
	waiting map[uint64]clustertime.Time
	// joined counts the callers, begun counts the reads.
	joined, begun uint64
	last          *snapshot

	// wanted has a token when a caller has joined.
	wanted chan struct{}
	// updated is raised after each read.
	updated signal
}

func (p *poll) init() {
	p.waiting = map[uint64]clustertime.Time{}
	p.wanted = make(chan struct{}, 1)
	p.updated.init()
}

// join requests reads of the list that begin from now on and are not older than
// after, until leave is called with the returned number. since is the argument
// for newerThan.
func (p *poll) join(after clustertime.Time) (number, since uint64) {
	p.mutex.Lock()
	p.joined++
	number, since = p.joined, p.begun
	p.waiting[number] = after
	p.mutex.Unlock()
	select {
	case p.wanted <- struct{}{}:
	default:
	}
	return number, since
}

func (p *poll) leave(number uint64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.waiting, number)
}

// newerThan returns the last snapshot if its read began after since was
// returned by join; otherwise nil.
func (p *poll) newerThan(since uint64) *snapshot {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.last == nil || p.last.number <= since {
		return nil
	}
	return p.last
}

// begin numbers a read for all callers that wait now. False: no caller waits.
func (p *poll) begin() (number uint64, after clustertime.Time, ok bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, time := range p.waiting {
		after = max(after, time)
	}
	p.begun++
	return p.begun, after, len(p.waiting) > 0
}

func (p *poll) end(l *snapshot) {
	p.mutex.Lock()
	p.last = l
	p.mutex.Unlock()
	p.updated.raise()
}

// Run reads the list while callers wait for it, and at the poll interval
// when no caller does, until ctx ends. It returns nil. Only Run reads the list,
// so a thousand waits cost as much as one.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.poll.wanted:
			f.readWhileWaited(ctx)
		case <-timer.C:
			// Any majority-committed snapshot shows what has been written.
			_, _ = f.readList(ctx, 0, true)
		}
		timer.Reset(f.idlePause())
	}
}

// idlePause is the time until the next read that no caller has requested. It
// grows with the fleet, so that a thousand instances do not read a million
// documents each time.
func (f *Fleet) idlePause() time.Duration {
	return IdlePause(f.config.PollInterval, len(f.observed.seen))
}

// IdlePause is the time between two reads of a list with this many documents that no caller
// has requested: at least this time, and 30 ms for each document, up to maxSize of them, with a
// jitter.
func IdlePause(least time.Duration, documents int) time.Duration {
	return timing.Jitter(max(least, time.Duration(min(documents, maxSize))*pollIntervalPerInstance), pollJitter)
}

// readWhileWaited reads the list until no caller waits any more. When a caller
// joins, the next read follows immediately, or almost.
func (f *Fleet) readWhileWaited(ctx context.Context) {
	pause := firstPause
	for {
		number, after, ok := f.poll.begin()
		if !ok || ctx.Err() != nil {
			return
		}
		f.poll.end(f.readFor(ctx, number, after))
		if !timing.Sleep(ctx, leastPause) {
			return
		}
		timer := time.NewTimer(pause - leastPause)
		select {
		case <-ctx.Done():
		case <-timer.C:
			pause = min(pause+pause/8, longestPause)
		case <-f.poll.wanted:
			pause = firstPause
		}
		timer.Stop()
	}
}

// readFor reads the list for the waiting callers. It reads a snapshot that
// shows everything that was acknowledged before the freshness: the freshness is
// loaded before the read, and the read is not older than it.
func (f *Fleet) readFor(ctx context.Context, number uint64, after clustertime.Time) *snapshot {
	asOf, processed := f.config.Fresh()
	l := &snapshot{number: number}
	if processed != 0 {
		l.until = asOf
	}
	l.all, l.err = f.readList(ctx, max(after, processed), false)
	return l
}

// readList reads the list and updates the observations.
func (f *Fleet) readList(ctx context.Context, after clustertime.Time, brief bool) ([]heartbeat, error) {
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	all, err := f.read(limited, after, brief)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	now := f.config.Now()
	f.reads.note(err, now)
	if err != nil {
		return nil, err
	}
	f.observed.update(all, now)
	f.size.Store(int64(f.observed.countRecent(now)))
	return all, nil
}
