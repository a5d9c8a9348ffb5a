package fleet

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
)

// look is one look at the list. It is never changed once it is there.
type look struct {
	// begun is its number: whoever was told an earlier one by join came before it.
	begun uint64
	all   []heartbeat
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

// Run looks at the list as long as anybody waits for it, until ctx ends, and
// returns nil. Nobody else reads it, so a thousand waits cost what one does.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.poll.wanted:
			f.watch(ctx)
		}
	}
}

// watch looks until nobody waits any more. Who comes meanwhile is looked for at
// once, or nearly.
func (f *Fleet) watch(ctx context.Context) {
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

func (f *Fleet) look(ctx context.Context, number uint64, after clustertime.Time) *look {
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	all, err := f.read(limited, after)
	if err != nil && ctx.Err() == nil {
		f.logger.Debug("the list of instances could not be read, it is tried again", zap.Error(err))
	}
	return &look{begun: number, all: all, err: err}
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
