package changestream

import (
	"context"
	"errors"
	"time"
)

// errWatchdog is why a request was given up.
var errWatchdog = errors.New("no answer came in time, so the stream was closed")

// requestContext is the context for one request. It ends when no answer has come within the
// watchdog's limit, when catching up has taken too long, when an outage is over, or when a
// heartbeat shows that the history is lost. It has no deadline that the driver could see: from
// one, the driver makes a maxTimeMS for the aggregate, which a server may go on to apply to the
// cursor.
func (t *Tail) requestContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, release := t.config.Heartbeater.tracker.interruptible(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(t.watchdog, func() { cancel(errWatchdog) })
	disarm := t.catchUp.arm(cancel)
	return ctx, func() {
		disarm()
		timer.Stop()
		cancel(nil)
		release()
	}
}

// watchdogErr returns the error to report for a request whose context ended. If the watchdog ended
// it, the next limit is twice as long, up to a maximum: a server that has much to scan would
// otherwise never get to its first answer.
func (t *Tail) watchdogErr(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errRewound):
		return lost(reasonRewound, errRewound)
	case errors.Is(cause, errCatchUpTooSlow):
		return t.catchUp.tooSlowLoss()
	case errors.Is(cause, errOutageOver):
		t.watchdog = t.config.Watchdog
		return errOutageOver
	case errors.Is(cause, errWatchdog):
		t.metrics.watchdog.Inc()
		t.watchdog = min(2*t.watchdog, maxWatchdogFactor*t.config.Watchdog)
		return errWatchdog
	}
	return err
}
