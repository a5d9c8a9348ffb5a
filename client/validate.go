package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keytail/keytail/auth"
)

// Validate asks the daemon about a key, as auth.Validator says. Every error but
// ErrRevisionAhead is ErrUnavailable, with more to find by errors.Is: ErrCallerToken,
// ErrBadRequest, or that of ctx when it has ended.
func (c *Client) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	if code := without(key); code != "" {
		return auth.Verdict{Code: code}, nil
	}
	body, err := questionOf(key, &request)
	if err != nil {
		return none(unavailable(err.Error(), ErrBadRequest))
	}
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	default:
		return none(unavailable(fmt.Sprintf("%d requests to %s are under way, which is as many as may be", c.config.MaxInFlight, c.where)))
	}
	verdict, err := c.circuit.Execute(func() (auth.Verdict, error) { return c.within(ctx, body, &request) })
	if c.watches.Watching() > 0 && !c.running.Load() && c.deaf.pass() {
		c.config.Logger.Error("streams of keys that are revoked go on: Run does not run, so that this client hears of no change")
	}
	switch {
	case err == nil:
		return verdict, nil
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return none(unavailable(c.where + " has failed again and again, and is tried from time to time"))
	}
	if errors.Is(err, ErrCallerToken) && c.refused.pass() {
		c.config.Logger.Error("no key can be validated", "error", err)
	}
	return none(err)
}

func none(err error) (auth.Verdict, error) { return auth.Verdict{Code: auth.Unavailable}, err }

// within asks within Timeout.
func (c *Client) within(ctx context.Context, body []byte, r *auth.Request) (auth.Verdict, error) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	verdict, failed := c.ask(bounded, body, r)
	switch {
	case failed == nil && verdict.Staleness > c.config.MaxStale:
		return none(unavailable(fmt.Sprintf("what %s knows is older than MaxStale: give this client the --max-stale of the daemon", c.where)))
	case failed == nil:
		if now := time.Now(); !verdict.AsOf.IsZero() {
			c.known.Store(&now)
		}
		return verdict, nil
	case ctx.Err() != nil:
		// Whoever asked has gone. That says nothing about the daemon, unless it had
		// time enough.
		left := unavailable("nobody waited for the answer of "+c.where, ctx.Err())
		left.away = failed.away && time.Since(began) >= c.config.Timeout/2
		return none(left)
	}
	if failed.away {
		c.last.Store(failed)
	}
	return none(failed)
}

// newCircuit counts failures in which no keytail answered. One that answers 503, or
// refuses a token or a request, is there: others may ask it.
func (c *Client) newCircuit() *gobreaker.CircuitBreaker[auth.Verdict] {
	return gobreaker.NewCircuitBreaker[auth.Verdict](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     c.config.BreakFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return int64(counts.ConsecutiveFailures) >= int64(c.config.BreakAfter)
		},
		IsSuccessful: func(err error) bool { return !away(err) },
		IsExcluded: func(err error) bool {
			return !away(err) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed:
				c.config.Logger.Error("keytail is away: no key can be validated", "error", c.last.Load())
			case to == gobreaker.StateClosed:
				c.config.Logger.Info("keytail is back", "url", c.where)
			}
		},
	})
}

func away(err error) bool {
	var failed *failure
	return errors.As(err, &failed) && failed.away
}

// throttle lets something through once in a while.
type throttle struct{ last atomic.Int64 }

// throttleInterval is between two log lines about the same thing.
const throttleInterval = time.Minute

func (t *throttle) pass() bool {
	now, last := time.Now().UnixNano(), t.last.Load()
	return (last == 0 || now < last || now-last >= int64(throttleInterval)) && t.last.CompareAndSwap(last, now)
}
