package adminclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/tmaxmax/go-sse"
)

const (
	// firstPause and longestPause are between two tries to get a broken stream back:
	// an instance that restarts is away for seconds.
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
	// maxEvent bounds one event, which keytail makes of a few hundred bytes.
	maxEvent = 1 << 20
)

// Event is one that keytail sent.
type Event struct {
	// ID goes on from here, as Follow's lastID.
	ID string
	// Kind is invalidation, loss, state, resync, or one that is newer than this
	// program.
	Kind string
	// Data is a JSON object.
	Data json.RawMessage
}

// errSilent: not even keep-alives came.
var errSilent = errors.New("nothing has come for too long")

// errEnded: the server has closed the stream, as it does at a shutdown, or when
// somebody reads too slowly.
var errEnded = errors.New("the server has ended the stream")

// Follow hands every event to take, in order and from one goroutine, until ctx
// ends, take returns an error, or the server refuses for good. It begins after the
// event lastID; empty: now. A stream that breaks is opened again after its last
// event, for ever, and broken (which may be nil) is told why. A first try that
// fails is the error: nobody can be listened to at a wrong address.
func (c *Client) Follow(ctx context.Context, lastID string, take func(Event) error, broken func(error)) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, longestPause
	for opened := false; ; {
		err := c.stream(ctx, lastID, func() { opened = true }, func(e Event) error {
			pause.Reset()
			lastID = e.ID
			return take(e)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var stop *stopped
		if errors.As(err, &stop) {
			return stop.err
		}
		if !opened || final(err) {
			return err
		}
		if broken != nil {
			broken(err)
		}
		if err := sleep(ctx, max(pause.NextBackOff(), retryTime(err))); err != nil {
			return err
		}
	}
}

// Listen hands the events of one connection to take, from the event lastID on, or
// from now if that is empty. opened is called when the server has begun to send. It
// returns when the connection ends, always with an error; one of take's ends it too.
func (c *Client) Listen(ctx context.Context, lastID string, opened func(), take func(Event) error) error {
	err := c.stream(ctx, lastID, opened, take)
	var stop *stopped
	if errors.As(err, &stop) {
		return stop.err
	}
	return err
}

// stopped is an error that another connection would not mend: of whoever takes the
// events, or of a server that is none of ours.
type stopped struct{ err error }

func (s *stopped) Error() string { return s.err.Error() }

// final reports whether asking again would be answered the same.
func final(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusTooManyRequests
}

func retryTime(err error) time.Duration {
	var refused *Error
	if errors.As(err, &refused) {
		return min(refused.RetryAfter, longestPause)
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream is one connection. It returns when that ends, always with an error.
func (c *Client) stream(ctx context.Context, lastID string, opened func(), take func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.config.Idle, func() { cancel(errSilent) })
	defer idle.Stop()
	q := call{method: http.MethodGet, path: pathEvents, header: http.Header{}}
	if lastID != "" {
		q.header.Set("Last-Event-ID", lastID)
	}
	response, err := c.send(ctx, &q)
	if err != nil {
		return c.broken(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxEvent))
		return c.refusal(&q, response, text)
	}
	opened()
	return c.events(ctx, &touching{response.Body, idle, c.config.Idle}, take)
}

// events reads until the stream ends.
func (c *Client) events(ctx context.Context, r io.Reader, take func(Event) error) (err error) {
	sse.Read(r, &sse.ReadConfig{MaxEventSize: maxEvent})(func(e sse.Event, wrong error) bool {
		switch {
		case wrong != nil:
			err = c.broken(ctx, wrong)
		case !json.Valid([]byte(e.Data)):
			err = &stopped{errors.New("an event has no JSON in it, is it keytail's?")}
		default:
			if wrong = take(Event{e.LastEventID, e.Type, json.RawMessage(e.Data)}); wrong != nil {
				err = &stopped{wrong}
			}
		}
		return err == nil
	})
	if err == nil {
		err = errEnded
	}
	return err
}

// broken says why there is nothing more to read.
func (c *Client) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return fmt.Errorf("%s: %w", c.base.Redacted(), cause)
	}
	return c.away(err)
}

// touching puts a timer off whenever something comes, keep-alives included.
type touching struct {
	io.Reader
	timer *time.Timer
	idle  time.Duration
}

func (t *touching) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if n > 0 {
		t.timer.Reset(t.idle)
	}
	return n, err
}
