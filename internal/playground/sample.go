package playground

import (
	"context"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// watchFor is how long keytail is asked without a pause around a write, so that the page
	// can say how many milliseconds it took. watchPause is the precision.
	watchFor   = 300 * time.Millisecond
	watchPause = time.Millisecond
)

// task is a question of a lane about a key.
type task struct {
	key   *key
	which int
	// writes is the number of the key's writes before the question.
	writes int
	cache  *TTLCache
}

// due takes the questions that are not on their way.
func (p *Playground) due() []task {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []task
	for _, k := range p.keys {
		for which := range laneCount {
			if s, free := p.takeLocked(k, which); free {
				all = append(all, s)
			}
		}
	}
	return all
}

func (p *Playground) takeLocked(k *key, which int) (task, bool) {
	if k.lanes[which].busy {
		return task{}, false
	}
	k.lanes[which].busy = true
	return task{k, which, k.writes, p.cache}, true
}

// sample asks, and notes the answer.
func (p *Playground) sample(ctx context.Context, t task) {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	answer, known := p.ask(limited, t)
	cancel()
	if !known || ctx.Err() != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		t.key.lanes[t.which].busy = false
		return
	}
	if c := p.see(t, answer); c != nil {
		p.watch(ctx, t.key, c)
	}
}

// see notes an answer. It returns a change that another program has made, if the answer
// shows one.
func (p *Playground) see(t task, answer Answer) *change {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.key.lanes[t.which].busy = false
	now := p.config.Now()
	if t.which == laneMongoDB {
		if t.writes != t.key.writes {
			return nil // what was read may be older than a write
		}
		return p.seeHeldLocked(t.key, now, answer)
	}
	if t.which == laneTTL && t.cache != p.cache {
		return nil // the TTL was changed meanwhile
	}
	if t.key.see(t.which, now, answer) {
		p.tellLocked(t.key, t.which)
	}
	return nil
}

// ask is false if there is nothing to say: while MongoDB does not answer its owners, what
// it holds does not change, either.
func (p *Playground) ask(ctx context.Context, t task) (answer Answer, known bool) {
	switch t.which {
	case laneMongoDB:
		code, err := p.config.Owner.Read(ctx, t.key.text)
		return Answer{Code: code}, err == nil
	case laneTTL:
		return t.cache.Get(ctx, t.key.text), true
	default:
		verdict := p.config.Validator.Validate(ctx, t.key.text, &apikey.Request{})
		read := verdict.Source != apikey.SourceNone && verdict.Source != apikey.SourceCache
		return Answer{Code: verdict.Code, Age: verdict.Staleness, Asked: read}, true
	}
}

// tellLocked makes news of a change that a lane has noticed, once it is acknowledged.
func (p *Playground) tellLocked(k *key, which int) {
	if c := k.current(); !c.at.IsZero() {
		p.news = k.name() + ": " + c.words(which, k.lanes[which].last.Code, p.config.Now(), p.config.MaxStale).Text
	}
}

// seeHeldLocked notes what MongoDB holds. It returns a change that another program has made.
func (p *Playground) seeHeldLocked(k *key, now time.Time, answer Answer) (made *change) {
	before, known := k.lanes[laneMongoDB].code()
	if known && before != answer.Code && !k.writing {
		made = &change{action: elsewhere, valid: answer.Code == apikey.Valid}
		k.begin(made, now)
		k.acknowledge(made, now)
	}
	k.lanes[laneMongoDB].see(now, answer)
	return made
}

// watch asks keytail all the time until it has noticed a change, for a moment.
func (p *Playground) watch(ctx context.Context, k *key, c *change) {
	for end := p.config.Now().Add(watchFor); p.config.Now().Before(end); {
		p.mu.Lock()
		noticed := !c.notices[laneKeytail].at.IsZero()
		t, free := task{}, false
		if !noticed {
			t, free = p.takeLocked(k, laneKeytail)
		}
		p.mu.Unlock()
		if noticed {
			return
		}
		if free {
			p.sample(ctx, t)
		}
		if !timing.Sleep(ctx, watchPause) {
			return
		}
	}
}
