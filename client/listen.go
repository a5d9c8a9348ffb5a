package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/httpclient"
)

const (
	// idle is three of the daemon's keep-alives: a connection that is silent for
	// longer is dead.
	idle = 15 * time.Second
	// firstPause and longestPause are between two tries to listen: an instance that
	// restarts is away for seconds.
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
	// pollsPerBound is how often all watches are rechecked within MaxStale while
	// changes may be missed.
	pollsPerBound = 3
	// looksPerBound is how often it is looked whether that is so.
	looksPerBound = 15
)

// Run listens to the daemon's events until ctx ends, so that Principal.Done hears
// of keys that stop being valid; it returns nil when all of it has stopped. The
// daemon must have caller tokens, without which it has no events. A connection that
// breaks is made again for ever, and while there is none all keys that somebody
// watches are asked about every third of MaxStale. It may be called again when it has
// returned.
func (c *Client) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return errors.New("client: it is running already")
	}
	defer c.running.Store(false)
	l := &listener{client: c}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.watches.Run(ctx) })
	group.Go(func() error { return l.listen(ctx) })
	group.Go(func() error { return l.look(ctx) })
	err := group.Wait()
	c.watches.Doubt(false)
	return err
}

// listener knows whether changes are heard. DESIGN.md has the argument.
type listener struct {
	client *Client
	// lastID is the last event, to go on from. It is listen's own.
	lastID string
	// failing: the last try to listen failed, which has been logged. listen's own.
	failing bool

	mutex sync.Mutex
	// connected: events come. state is that of the instance that sends them.
	connected bool
	state     string
	// settled is when what may have been missed can be found by asking: all are
	// rechecked once more then. polled is when they were last.
	settled, polled time.Time
	// pending is since when something may have changed, and nobody has known
	// anything. Zero: nothing has.
	pending time.Time
}

// hearingLocked: the instance follows the database, and tells what it sees. States
// that are not known here count as deaf.
func (l *listener) hearingLocked() bool {
	return l.connected && (l.state == "live" || l.state == "preloading")
}

// listen makes one connection after the other.
func (l *listener) listen(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, longestPause
	for {
		began := time.Now()
		err := l.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if l.disconnected(); !l.failing {
			l.failing = true
			l.client.config.Logger.Warn("keytail's events are not heard: keys that somebody watches are asked about again and again", "error", err)
		}
		if time.Since(began) > longestPause {
			// It was a good one. One that is accepted and closed at once is not.
			pause.Reset()
		}
		if !sleep(ctx, max(pause.NextBackOff(), retryTime(err))) {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func retryTime(err error) time.Duration {
	var refused *httpclient.Error
	if errors.As(err, &refused) {
		return min(refused.RetryAfter, longestPause)
	}
	return 0
}

// connection is one, with the token of now.
func (l *listener) connection(ctx context.Context) error {
	c := l.client
	events, err := httpclient.New(httpclient.Config{
		URL: c.base.String(), Token: c.token.get(), Transport: c.stream, Idle: idle, UserAgent: userAgent,
	})
	if err != nil {
		return err
	}
	return events.Listen(ctx, l.lastID, l.begun, func(e httpclient.Event) error {
		l.lastID = e.ID
		l.take(&e)
		return nil
	})
}

// begun is called when the daemon sends: from here on nothing is missed that this
// instance sees, and what was missed before is asked about.
func (l *listener) begun() {
	l.mutex.Lock()
	l.connected = true
	l.mutex.Unlock()
	l.gap()
	if l.failing {
		l.failing = false
		l.client.config.Logger.Info("keytail's events are heard again")
	}
}

func (l *listener) disconnected() {
	l.mutex.Lock()
	l.connected = false
	l.mutex.Unlock()
	l.gap()
}

// take is told of one event.
func (l *listener) take(e *httpclient.Event) {
	var data struct {
		KeyID    string `json:"key_id"`
		Revision string `json:"revision"`
		To       string `json:"to"`
		State    string `json:"state"`
	}
	// What cannot be read is empty, and taken for a gap.
	_ = json.Unmarshal(e.Data, &data)
	switch e.Kind {
	case "invalidation":
		if revision, err := auth.ParseRevision(data.Revision); err == nil && data.KeyID != "" {
			l.changed(data.KeyID, uint64(revision))
			return
		}
	case "state":
		l.says(data.To)
	case "resync":
		l.says(data.State)
	}
	// A loss, or what is newer than this program.
	l.gap()
}

func (l *listener) says(state string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.state = state
}

// changed passes a key's change on.
func (l *listener) changed(keyID string, revision uint64) {
	l.mutex.Lock()
	l.pendLocked()
	l.mutex.Unlock()
	l.client.watches.Changed(keyID, revision)
}

// gap says that changes may have been missed up to now. They are asked about at
// once, and again when no answer can ignore them any more: those who answer may lag
// behind by MaxStale. A loss that was made good before the daemon's next look at its
// state has no end that is told, so there is one more interval to it.
func (l *listener) gap() {
	bound := l.client.config.MaxStale
	l.mutex.Lock()
	l.settled = time.Now().Add(bound + bound/pollsPerBound)
	l.mutex.Unlock()
	l.poll()
}

// poll has all watches rechecked.
func (l *listener) poll() {
	l.mutex.Lock()
	l.polled = time.Now()
	l.pendLocked()
	l.mutex.Unlock()
	l.client.watches.ChangedAll()
}

func (l *listener) pendLocked() {
	if l.pending.IsZero() && l.client.watches.Watching() > 0 {
		l.pending = time.Now()
	}
}

// look polls while changes may be missed, and tells whether the truth is lost.
func (l *listener) look(ctx context.Context) error {
	ticker := time.NewTicker(max(l.client.config.MaxStale/looksPerBound, 1))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if l.due() {
			l.poll()
		}
		l.client.watches.Doubt(l.lost())
	}
}

// due reports whether all have to be rechecked now.
func (l *listener) due() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	missed := !l.hearingLocked() || l.polled.Before(l.settled)
	return missed && time.Since(l.polled) >= l.client.config.MaxStale/pollsPerBound
}

// lost reports whether something may have changed longer than MaxStale ago, and
// nobody has known anything since.
func (l *listener) lost() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if known := l.client.known.Load(); known != nil && known.After(l.pending) {
		l.pending = time.Time{}
	}
	return !l.pending.IsZero() && time.Since(l.pending) > l.client.config.MaxStale
}

// newStream is a transport for events: a connection of its own for each stream, which
// is silent for as long as idle lets it.
func newStream(config *Config) http.RoundTripper {
	if config.Transport != nil {
		return config.Transport
	}
	t := newTransport(config)
	t.ResponseHeaderTimeout, t.DisableKeepAlives = 0, true
	return t
}
