package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/tracing"
)

// Validate implements auth.Validator. Every error except auth.ErrRevisionAhead is
// auth.ErrUnavailable; errors.Is also finds ErrCallerToken, ErrBadRequest, or the error
// of ctx if it has ended.
//
// If ctx has a span of OpenTelemetry, the request carries it to the daemon, and the
// verdict is in its attributes (docs/tracing.md).
func (c *Client) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	verdict, err := c.answer(ctx, key, request)
	if span := tracing.Span(ctx); span.IsRecording() {
		tracing.Describe(span, tracing.Verdict{
			Code: string(verdict.Code), Source: string(verdict.Source), HasData: !verdict.AsOf.IsZero(),
			Staleness: verdict.Staleness, Revision: verdict.Revision.String(),
		})
	}
	return verdict, err
}

// answer is Validate without a span.
func (c *Client) answer(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	if code := checkKey(key); code != "" {
		return auth.Verdict{Code: code}, nil
	}
	body, err := encodeRequest(key, &request)
	if err != nil {
		return noVerdict(unavailable(err.Error(), ErrBadRequest))
	}
	select {
	case c.inFlight <- struct{}{}:
		defer func() { <-c.inFlight }()
	default:
		return noVerdict(unavailable(fmt.Sprintf("%d requests to %s are in progress, the limit of MaxInFlight", c.config.MaxInFlight, c.address)))
	}
	verdict, err := c.circuit.Execute(func() (auth.Verdict, error) { return c.validate(ctx, body, &request) })
	if c.watches.Watching() > 0 && !c.running.Load() && c.runLog.allow() {
		c.config.Logger.Error("Run was not called: requests continue after their API key is revoked")
	}
	switch {
	case err == nil:
		return verdict, nil
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return noVerdict(unavailable(c.address + " has failed repeatedly: the circuit breaker is open"))
	}
	if errors.Is(err, ErrCallerToken) && c.tokenLog.allow() {
		c.config.Logger.Error("no API key can be validated", "error", err)
	}
	return noVerdict(err)
}

func noVerdict(err error) (auth.Verdict, error) { return auth.Verdict{Code: auth.Unavailable}, err }

// validate makes a request within Timeout.
func (c *Client) validate(ctx context.Context, body []byte, r *auth.Request) (auth.Verdict, error) {
	started := time.Now()
	bounded, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	verdict, failed := c.send(bounded, body, r)
	switch {
	case failed == nil && verdict.Staleness > c.config.MaxStale:
		return noVerdict(unavailable(fmt.Sprintf("the data of %s is older than MaxStale: set MaxStale to the daemon's maximum staleness", c.address)))
	case failed == nil:
		if now := time.Now(); !verdict.AsOf.IsZero() {
			c.lastVerdict.Store(&now)
		}
		return verdict, nil
	case ctx.Err() != nil:
		// The caller has cancelled. That is no failure of the daemon, unless it had half
		// of the time that it may take.
		cancelled := unavailable("the caller cancelled the request to "+c.address, ctx.Err())
		cancelled.unreachable = failed.unreachable && time.Since(started) >= c.config.Timeout/2
		return noVerdict(cancelled)
	}
	if failed.unreachable {
		c.lastFailure.Store(failed)
	}
	return noVerdict(failed)
}

// throttle lets an event happen once per throttleInterval.
type throttle struct{ last atomic.Int64 }

// throttleInterval is the time between two log lines with the same message.
const throttleInterval = time.Minute

func (t *throttle) allow() bool {
	now, last := time.Now().UnixNano(), t.last.Load()
	return (last == 0 || now < last || now-last >= int64(throttleInterval)) && t.last.CompareAndSwap(last, now)
}
