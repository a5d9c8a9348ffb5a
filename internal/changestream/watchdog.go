package changestream

import (
	"context"
	"errors"
	"time"
)

// errWatchdog is why a request was given up.
var errWatchdog = errors.New("no answer came in time, so the stream was given up")

// watched is a context that ends when no answer has come within limit. It has
// no deadline that the driver could see: of one it makes a maxTimeMS for the
// aggregate, and a server may go on to hold that against the cursor.
func watched(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errWatchdog) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// watched is a context for one request: it ends when the watchdog bites, or when a
// heartbeat shows that the history is lost.
func (t *Tail) watched(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, release := t.config.Heart.memory.interruptible(ctx)
	ctx, cancel := watched(ctx, t.watchdog)
	return ctx, func() {
		cancel()
		release()
	}
}

// bitten makes the next limit longer, up to a limit of its own, if the watchdog
// ended ctx: a server that has much to scan would otherwise never get to its
// first answer. It returns the error to report.
func (t *Tail) bitten(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errRewound):
		return lost(reasonRewound, errRewound)
	case !errors.Is(cause, errWatchdog):
		return err
	}
	t.metrics.watchdog.Inc()
	t.watchdog = min(2*t.watchdog, longestWatchdog*t.config.Watchdog)
	return errWatchdog
}
