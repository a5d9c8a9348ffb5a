package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/httpclient"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// silenceTimeout is three of the daemon's keep-alives: an event stream that is silent
	// for longer is broken.
	silenceTimeout = 15 * time.Second
	// firstPause and longestPause are the backoff between two connections: an instance
	// restarts within seconds.
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
	// recheckFraction: while changes may be missed, all watches are rechecked every
	// MaxStale/recheckFraction.
	recheckFraction = 3
	// tickFraction: every MaxStale/tickFraction the client checks whether a recheck is
	// due.
	tickFraction = 15
)

// Run receives the daemon's events until ctx ends, so that Principal.Done learns of
// revoked keys. It returns nil when all its goroutines have stopped. The daemon must
// have caller tokens, without which it sends no events. A broken connection is made
// again without limit; while there is none, all watched keys are rechecked every third
// of MaxStale. Run may be called again after it has returned.
func (c *Client) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return errors.New("client: Run is already running")
	}
	defer c.running.Store(false)
	s := &subscriber{client: c}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.watches.Run(ctx) })
	group.Go(func() error { return s.receive(ctx) })
	group.Go(func() error { return s.recheckWhileMissing(ctx) })
	err := group.Wait()
	c.watches.SetStale(false)
	return err
}

// subscriber receives events, and knows whether changes may have been missed. DESIGN.md
// has the proof.
type subscriber struct {
	client *Client
	// lastID is the id of the last event. Only receive uses it.
	lastID string
	// failing: the last connection failed, which has been logged. Only receive uses it.
	failing bool

	mutex sync.Mutex
	// connected: the stream is open. state is the state of the instance that sends it.
	connected bool
	state     string
	// settledAt is when all earlier gaps can be found by rechecks: all watches are
	// rechecked once more then. recheckedAt is when they were last rechecked.
	settledAt, recheckedAt time.Time
	// pendingSince is since when there may be a change without a later verdict. Zero:
	// there is none.
	pendingSince time.Time
}

// followingLocked reports whether the instance follows the database and the stream is
// open. Unknown states count as not following.
func (s *subscriber) followingLocked() bool {
	return s.connected && (s.state == "live" || s.state == "preloading")
}

// receive makes one connection after the other until ctx ends.
func (s *subscriber) receive(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, longestPause
	for {
		started := time.Now()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if s.onDisconnect(); !s.failing {
			s.failing = true
			s.client.config.Logger.Warn("the event stream is disconnected: watched API keys are rechecked periodically", "error", err)
		}
		if time.Since(started) > longestPause {
			// A stream that is closed immediately does not reset the pause.
			pause.Reset()
		}
		if !timing.Sleep(ctx, max(pause.NextBackOff(), retryAfter(err))) {
			return nil
		}
	}
}

func retryAfter(err error) time.Duration {
	var refused *httpclient.Error
	if errors.As(err, &refused) {
		return min(refused.RetryAfter, longestPause)
	}
	return 0
}

// connect receives the events of one connection, with the current token.
func (s *subscriber) connect(ctx context.Context) error {
	c := s.client
	stream, err := httpclient.New(httpclient.Config{
		URL: c.base.String(), Token: c.token.get(), Transport: c.stream, Idle: silenceTimeout, UserAgent: userAgent,
	})
	if err != nil {
		return err
	}
	err = stream.Listen(ctx, s.lastID, s.onConnect, func(e httpclient.Event) error {
		s.lastID = e.ID
		s.handle(&e)
		return nil
	})
	if refused, ok := errors.AsType[*httpclient.Error](err); ok && refused.Code == api.CodeNoSuchPath {
		return fmt.Errorf("%w A daemon sends events only with --caller-token-file", err)
	}
	return err
}

// onConnect is called when the stream is open: from now on the client gets every change
// that this instance sees, and rechecks find the earlier ones.
func (s *subscriber) onConnect() {
	s.mutex.Lock()
	s.connected = true
	s.mutex.Unlock()
	s.onGap()
	if s.failing {
		s.failing = false
		s.client.config.Logger.Info("the event stream is connected again")
	}
}

func (s *subscriber) onDisconnect() {
	s.mutex.Lock()
	s.connected = false
	s.mutex.Unlock()
	s.onGap()
}

// handle processes one event.
func (s *subscriber) handle(e *httpclient.Event) {
	var data struct {
		KeyID    string `json:"key_id"`
		Revision string `json:"revision"`
		To       string `json:"to"`
		State    string `json:"state"`
	}
	// An event that cannot be decoded has no fields, and counts as a gap.
	_ = json.Unmarshal(e.Data, &data)
	switch e.Kind {
	case api.EventInvalidation:
		if revision, err := auth.ParseRevision(data.Revision); err == nil && data.KeyID != "" {
			s.onChange(data.KeyID, uint64(revision))
			return
		}
	case api.EventExpiring:
		return // no change, and each answer checks the expiry
	case api.EventState:
		s.setState(data.To)
	case api.EventResync:
		s.setState(data.State)
	case api.EventLoss:
	default:
		// An event that is newer than this program counts as a loss.
	}
	s.onGap()
}

func (s *subscriber) setState(state string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.state = state
}

// onChange reports a key's change to the watches.
func (s *subscriber) onChange(keyID string, revision uint64) {
	s.mutex.Lock()
	s.markPendingLocked()
	s.mutex.Unlock()
	s.client.watches.Changed(keyID, revision)
}

// onGap is called when changes may have been missed up to now. All watches are
// rechecked immediately, and again when no answer can lack these changes any more: the
// instance that answers may lag behind by MaxStale. There is one more interval because
// the end of a loss is not reported if it comes before the daemon's next check of its
// state.
func (s *subscriber) onGap() {
	bound := s.client.config.MaxStale
	s.mutex.Lock()
	s.settledAt = time.Now().Add(bound + bound/recheckFraction)
	s.mutex.Unlock()
	s.recheckAll()
}

// recheckAll rechecks all watches.
func (s *subscriber) recheckAll() {
	s.mutex.Lock()
	s.recheckedAt = time.Now()
	s.markPendingLocked()
	s.mutex.Unlock()
	s.client.watches.ChangedAll()
}

func (s *subscriber) markPendingLocked() {
	if s.pendingSince.IsZero() && s.client.watches.Watching() > 0 {
		s.pendingSince = time.Now()
	}
}

// recheckWhileMissing rechecks all watches while changes may be missed, and reports
// whether the data is stale.
func (s *subscriber) recheckWhileMissing(ctx context.Context) error {
	ticker := time.NewTicker(max(s.client.config.MaxStale/tickFraction, 1))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if s.recheckDue() {
			s.recheckAll()
		}
		s.client.watches.SetStale(s.isStale())
	}
}

// recheckDue reports whether all watches must be rechecked now.
func (s *subscriber) recheckDue() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	missing := !s.followingLocked() || s.recheckedAt.Before(s.settledAt)
	return missing && time.Since(s.recheckedAt) >= s.client.config.MaxStale/recheckFraction
}

// isStale reports whether there may have been a change more than MaxStale ago and no
// verdict since.
func (s *subscriber) isStale() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if last := s.client.lastVerdict.Load(); last != nil && last.After(s.pendingSince) {
		s.pendingSince = time.Time{}
	}
	return !s.pendingSince.IsZero() && time.Since(s.pendingSince) > s.client.config.MaxStale
}
