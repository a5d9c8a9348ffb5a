package client

import (
	"context"
	"errors"

	"github.com/sony/gobreaker/v2"

	"github.com/keytail/keytail/auth"
)

// newCircuit returns a circuit breaker that counts the failures in which no keytail
// answered. A daemon that responds with 503, or refuses a token or a request, is
// reachable, and other callers may have more success.
func (c *Client) newCircuit() *gobreaker.CircuitBreaker[auth.Verdict] {
	return gobreaker.NewCircuitBreaker[auth.Verdict](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     c.config.BreakFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return int64(counts.ConsecutiveFailures) >= int64(c.config.BreakAfter)
		},
		IsSuccessful: func(err error) bool { return !isUnreachable(err) },
		IsExcluded: func(err error) bool {
			return !isUnreachable(err) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed:
				c.config.Logger.Error("keytail is unreachable: no API key can be validated", "url", c.address, "error", c.lastFailure.Load())
			case to == gobreaker.StateClosed:
				c.config.Logger.Info("keytail is reachable again", "url", c.address)
			}
		},
	})
}

func isUnreachable(err error) bool {
	var failed *failure
	return errors.As(err, &failed) && failed.unreachable
}
