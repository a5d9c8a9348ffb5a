package fleet

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
)

// look is one look at the list. It is never changed once it is there.
type look struct {
	// begun is its number: whoever was told an earlier one by join came before it.
	begun uint64
	all   []heartbeat
	// until is a time before which everything that was acknowledged to anybody is
	// on the list. Zero: not known, so nobody is taken for dead.
	until time.Time
	err   error
}

// poll is what those who wait for the fleet share.
type poll struct {
	mutex sync.Mutex
	// waiting maps the number of each who waits to the cluster time before which
	// the list may not have been read.
	waiting map[uint64]clustertime.Time
	// joined and begun count those who came, and the looks.
	joined, begun uint64
	last          *look

	// wanted has a token when somebody has come.
	wanted chan struct{}
	// looked is raised after each look.
	looked signal
}

func (p *poll) init() {
	p.waiting = map[uint64]clustertime.Time{}
	p.wanted = make(chan struct{}, 1)
	p.looked.init()
}

// join asks for looks at the list that begin from now on and are not older than
// after, until leave is called with the number that is returned. since is what
// later has to be given.
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

// later is the last look, if it began after since was given out; else nil.
func (p *poll) later(since uint64) *look {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.last == nil || p.last.begun <= since {
		return nil
	}
	return p.last
}

// begin numbers a look for all who wait now; false: nobody does.
func (p *poll) begin() (number uint64, after clustertime.Time, ok bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, time := range p.waiting {
		after = max(after, time)
	}
	p.begun++
	return p.begun, after, len(p.waiting) > 0
}

func (p *poll) end(l *look) {
	p.mutex.Lock()
	p.last = l
	p.mutex.Unlock()
	p.looked.raise()
}

// Run looks at the list as long as anybody waits for it, and now and then when
// nobody does, until ctx ends. It returns nil. Nobody else reads the list, so a
// thousand waits cost what one does.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.poll.wanted:
			f.follow(ctx)
		case <-timer.C:
			// Any majority-committed snapshot will do to learn what has been written.
			_, _ = f.see(ctx, 0, true)
		}
		timer.Reset(f.pace())
	}
}

// pace is how long to wait before the next look that nobody has asked for. It
// grows with the fleet, so that a thousand instances do not read a million
// documents each time.
func (f *Fleet) pace() time.Duration {
	pause := max(f.config.Pace, time.Duration(len(f.memory.seen))*paceOfOne)
	return time.Duration(float64(pause) * (1 - paceJitter + 2*paceJitter*rand.Float64()))
}

// follow looks until nobody waits any more. Who comes meanwhile is looked for at
// once, or nearly.
func (f *Fleet) follow(ctx context.Context) {
	pause := firstPause
	for {
		number, after, ok := f.poll.begin()
		if !ok || ctx.Err() != nil {
			return
		}
		f.poll.end(f.look(ctx, number, after))
		if !sleep(ctx, leastPause) {
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

// look looks at the list for those who wait. It is read from a snapshot that
// shows all that was acknowledged before the freshness: the freshness is loaded
// before the read, and bounds it.
func (f *Fleet) look(ctx context.Context, number uint64, after clustertime.Time) *look {
	asOf, processed := f.config.Fresh()
	l := &look{begun: number}
	if processed != 0 {
		l.until = asOf
	}
	l.all, l.err = f.see(ctx, max(after, processed), false)
	return l
}

// see reads the list and remembers what it has seen.
func (f *Fleet) see(ctx context.Context, after clustertime.Time, brief bool) ([]heartbeat, error) {
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
	f.memory.see(all, now)
	return all, nil
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
