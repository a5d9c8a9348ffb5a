package playground

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// Window is how much of the past the page shows at most. A copy of the longest TTL can be seen
	// from its first wrong answer to its last.
	Window = 2 * time.Minute
	// MaxKeys bounds the keys on the page: more would not be seen at a glance.
	MaxKeys = 5
	// WriteTimeout is how long a write waits for MongoDB: a person may thaw the primary.
	WriteTimeout = time.Minute

	// sampleInterval is between two questions of a lane about a key.
	sampleInterval = 200 * time.Millisecond
	// answerTimeout is how long a lane waits for an answer, as a service would that has a
	// client waiting. Without one the answer counts as UNAVAILABLE.
	answerTimeout = 500 * time.Millisecond
	// maxSpans bounds the faults and segments that are kept of one lane.
	maxSpans = 200
)

// Validator is keytail's.
type Validator interface {
	Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict
}

// State is how keytail is.
type State struct {
	// Name is live, stale, down, connecting or preloading.
	Name string
	// Staleness is the age of what keytail answers from. Negative: not known.
	Staleness time.Duration
}

// Faults are the faults of the connections to MongoDB. One ends the other.
type Faults interface {
	// Cut drops everything between the services and MongoDB. Who revokes keys is on the
	// other side of the cut.
	Cut()
	// Freeze stops MongoDB like SIGSTOP: everybody waits.
	Freeze()
	// Heal ends the fault.
	Heal()
}

// Config of a Playground. All fields are required, except Now.
type Config struct {
	// Validator, State and MaxStale are those of the daemon, which sets them.
	Validator Validator
	State     func() State
	MaxStale  time.Duration
	// Service reads what the TTL cache copies. Faults hit it as they hit keytail.
	Service Reader
	// Owner is the client of the people who make and revoke keys.
	Owner Owner
	// Faults break the connections.
	Faults Faults
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Playground has the keys of the page, and what was answered about them. It is safe for
// concurrent use. Commands need Run: without it they end with an error.
type Playground struct {
	config Config
	// work are functions that Run starts.
	work chan func(context.Context)

	// mu guards all fields below.
	mu    sync.Mutex
	cache *TTLCache
	keys  []*key
	// creating are new keys that MongoDB has not acknowledged.
	creating int
	fault    Fault
	faults   []span
	state    State
	ages     []agePoint
	// news is the last event, as a sentence. problem is why the last command failed.
	news, problem string
}

// span is a time with a fault. A zero end: it lasts.
type span struct {
	fault    Fault
	from, to time.Time
}

// agePoint is the staleness at a time. Negative: not known.
type agePoint struct {
	at        time.Time
	staleness time.Duration
}

// New makes a playground without keys. It starts nothing. The error names what Config lacks.
func New(config Config) (*Playground, error) {
	if config.Validator == nil || config.State == nil || config.MaxStale <= 0 || config.Service == nil || config.Owner == nil || config.Faults == nil {
		return nil, errors.New("playground: Config needs Validator, State, MaxStale, Service, Owner and Faults")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	p := &Playground{config: config, work: make(chan func(context.Context)), state: config.State()}
	p.cache = NewTTLCache(config.Service, DefaultTTL, config.Now)
	return p, nil
}

// Run samples until ctx ends. It returns nil when everything has stopped. Call it once.
func (p *Playground) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case do := <-p.work:
			tasks.Go(func() { do(ctx) })
		case <-ticker.C:
			p.note()
			for _, s := range p.due() {
				tasks.Go(func() { p.sample(ctx, s) })
			}
		}
	}
}

// note keeps the state of keytail, and forgets what the page no longer shows.
func (p *Playground) note() {
	state := p.config.State()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.config.Now()
	if state.Name != p.state.Name {
		p.news = stateNews(state.Name, p.config.MaxStale)
	}
	p.state = state
	p.ages = append(p.ages, agePoint{now, state.Staleness})
	old := now.Add(-Window)
	for len(p.ages) > 0 && p.ages[0].at.Before(old) {
		p.ages = p.ages[1:]
	}
	for len(p.faults) > 0 && !p.faults[0].to.IsZero() && p.faults[0].to.Before(old) {
		p.faults = p.faults[1:]
	}
	for _, k := range p.keys {
		for i := range k.lanes {
			k.lanes[i].forget(old)
		}
	}
}
