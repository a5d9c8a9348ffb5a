package usage

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// remindEvery is the time between two log lines about the same failure.
const remindEvery = time.Minute

// Status is the state of the writes.
type Status struct {
	// Pending is how many keys have a use that is not written yet.
	Pending int64
	// Batch is how many keys go into one command.
	Batch int
	// FailingSince is when the first of the current series of failed flushes
	// failed. Zero: the last flush did not fail.
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

// pending returns how many keys are waiting, including those of a flush in
// progress.
func (u *Recorder) pending() int64 { return u.waiting.Load() + u.taken.Load() }

// failingFor returns how long the flushes have been failing.
func (u *Recorder) failingFor() time.Duration {
	if since := u.failing.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

// report counts a failed flush, and logs the first failure, a reminder each
// minute, and the end. The caller holds the flushing lock.
func (u *Recorder) report(err error) {
	u.reportDropped()
	if errors.Is(err, context.Canceled) {
		return // a shutdown: its own flush continues with the rest
	}
	now := time.Now()
	if err == nil {
		if since := u.failing.Swap(nil); since != nil {
			u.logger.Info("last_used and usage_count are written again",
				zap.Duration("failed_for", now.Sub(*since).Round(time.Millisecond)), zap.Int64("batch_keys", u.batch.size.Load()))
		}
		return
	}
	u.metrics.failures.Inc()
	first := u.failing.CompareAndSwap(nil, &now)
	if !first && now.Sub(u.reminded) < remindEvery {
		return
	}
	u.reminded = now
	message := "last_used and usage_count are still not written: make sure that the database answers in time and accepts writes"
	if first {
		message = "last_used and usage_count could not be written, the next flush tries again: make sure that the database answers in time and accepts writes"
	}
	u.logger.Warn(message, zap.Int64("pending_keys", u.pending()), zap.Time("since", *u.failing.Load()),
		zap.Duration("failing_for", u.failingFor().Round(time.Millisecond)), zap.Int64("batch_keys", u.batch.size.Load()), zap.Error(err))
}

// reportDropped logs, once a minute, that uses were dropped because too many
// keys wait.
func (u *Recorder) reportDropped() {
	if u.dropped.Load() == 0 || time.Since(u.dropLogged) < remindEvery {
		return
	}
	u.dropLogged = time.Now()
	u.logger.Warn("uses of keys were dropped because too many keys wait to be written: make sure that the database accepts writes, or set --track-usage=false",
		zap.Int64("uses", u.dropped.Swap(0)), zap.Int64("pending_keys", u.pending()))
}
