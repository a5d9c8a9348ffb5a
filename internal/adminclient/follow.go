package adminclient

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/keytail/keytail/internal/httpclient"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// firstPause and longestPause are the pauses between two attempts to reconnect:
	// an instance that restarts is unreachable for seconds.
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

// Event is one that keytail sent.
type Event = httpclient.Event

// Follow passes every event to take, in order and from one goroutine, until ctx
// ends, take returns an error, or the server refuses permanently. It begins after
// the event lastID, or now if lastID is empty.
//
// It reopens a stream that breaks after its last event, without a limit, and
// passes the reason to broken, which may be nil. If the first attempt fails, Follow
// returns its error: the address may be wrong.
func (c *Client) Follow(ctx context.Context, lastID string, take func(Event) error, broken func(error)) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, longestPause
	opened := false
	var takeErr error
	for {
		err := c.http.Listen(ctx, lastID, func() { opened = true }, func(e Event) error {
			pause.Reset()
			lastID = e.ID
			takeErr = take(e)
			return takeErr
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case takeErr != nil:
			return takeErr
		case !opened || isPermanent(err):
			return err
		}
		if broken != nil {
			broken(err)
		}
		if !timing.Sleep(ctx, max(pause.NextBackOff(), retryTime(err))) {
			return ctx.Err()
		}
	}
}

// isPermanent reports whether another attempt would have the same result.
func isPermanent(err error) bool {
	var refused *Error
	return errors.Is(err, httpclient.ErrNotKeytail) ||
		errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusTooManyRequests
}

func retryTime(err error) time.Duration {
	var refused *Error
	if errors.As(err, &refused) {
		return min(refused.RetryAfter, longestPause)
	}
	return 0
}
