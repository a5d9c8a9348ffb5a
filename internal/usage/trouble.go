package usage

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// remindEvery is the time between two lines about the same trouble.
const remindEvery = time.Minute

// Status is how the writing goes.
type Status struct {
	// Pending keys have a use that is not written yet.
	Pending int64
	// Batch is how many keys go into one command.
	Batch int
	// FailingSince is when the first of the flushes failed that have failed in a row.
	// Zero: the last one did not fail.
	FailingSince time.Time
}

// Status may be called at any time.
func (u *Recorder) Status() Status {
	s := Status{Pending: u.pending(), Batch: int(u.batch.size.Load())}
	if since := u.failing.Load(); since != nil {
		s.FailingSince = *since
	}
	return s
}

// pending is how many keys wait, those of a flush under way included.
func (u *Recorder) pending() int64 { return u.waiting.Load() + u.taken.Load() }

// failingFor is how long the writing has failed.
func (u *Recorder) failingFor() time.Duration {
	if since := u.failing.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

// report counts a failed flush, and logs the first one, a reminder each minute, and
// the end. The caller holds the flushing lock.
func (u *Recorder) report(err error) {
	u.reportFull()
	if errors.Is(err, context.Canceled) {
		return // a stop, whose own flush goes on with the rest
	}
	now := time.Now()
	if err == nil {
		if since := u.failing.Swap(nil); since != nil {
			u.logger.Info("last_used and usage_count are written again",
				zap.Duration("failed_for", now.Sub(*since)), zap.Int64("batch_keys", u.batch.size.Load()))
		}
		return
	}
	u.metrics.failures.Inc()
	first := u.failing.CompareAndSwap(nil, &now)
	if !first && now.Sub(u.reminded) < remindEvery {
		return
	}
	u.reminded = now
	message := "last_used and usage_count are still not written: see that the database answers in time and takes writes"
	if first {
		message = "last_used and usage_count could not be written, the next flush tries again: see that the database answers in time and takes writes"
	}
	u.logger.Warn(message, zap.Int64("pending_keys", u.pending()), zap.Time("since", *u.failing.Load()),
		zap.Duration("failing_for", u.failingFor()), zap.Int64("batch_keys", u.batch.size.Load()), zap.Error(err))
}

// reportFull says that uses were dropped because too many keys wait, once a minute.
func (u *Recorder) reportFull() {
	if u.dropped.Load() == 0 || time.Since(u.saidFull) < remindEvery {
		return
	}
	u.saidFull = time.Now()
	u.logger.Warn("uses of keys are dropped because too many keys wait to be written: see that the database takes writes, or set --track-usage=false",
		zap.Int64("uses", u.dropped.Swap(0)), zap.Int64("pending_keys", u.pending()))
}
