package validator

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// readLinearizable answers when the stream is not fresh: with a linearizable
// read that began after this caller arrived. It stores nothing.
func (v *Validator) readLinearizable(ctx context.Context, hash apikey.Hash, needed clustertime.Time) (keycache.Answer, apikey.Source, error) {
	v.noteRoundTrip()
	if v.breaker.refuses() {
		// No caller waits for its turn.
		return keycache.Answer{}, apikey.SourceNone, errBreaker
	}
	// Not known(): the change at which a stream begins may still be rolled
	// back.
	sent, err := v.rejectAhead(ctx, needed, v.processed())
	if err != nil {
		return keycache.Answer{}, apikey.SourceNone, err
	}
	s, err := v.linearizable.do(ctx, hash)
	if err != nil {
		return keycache.Answer{}, apikey.SourceNone, err
	}
	// Heartbeats had failed, but one may succeed now. A revision that was given
	// to a client belongs to a change that a majority had acknowledged before
	// this request, so the read contains it.
	if !sent && s.fresh.Processed < needed && v.isAhead(ctx, needed) {
		return keycache.Answer{}, apikey.SourceNone, errRevisionAhead
	}
	answer, err := v.answer(s)
	answer.Revision = max(answer.Revision, needed)
	return answer, apikey.SourceLinearizable, err
}

// runLinearizable is a flight of readLinearizable. The age of its result counts
// from before the read is sent: only changes that were acknowledged by then are
// certain to be in it.
func (v *Validator) runLinearizable(ctx context.Context, hash apikey.Hash) (readResult, error) {
	attempt, ok := v.breaker.begin()
	if !ok {
		return readResult{}, errBreaker
	}
	fresh := &keycache.Freshness{AsOf: v.config.Now(), Processed: v.processed()}
	finding, err := v.readLimited(ctx, kindLinearizable, func(ctx context.Context) (keystore.Document, bool, error) {
		// A stream that is not fresh may not have reported a drop either.
		return v.readTwice(ctx, true, func() (keystore.Document, bool, error) { return v.config.Store.FindLinearizable(ctx, hash) })
	})
	v.endAttempt(attempt, err)
	return readResult{fresh: fresh, finding: finding}, err
}

// endAttempt reports to the breaker the result of an attempt.
func (v *Validator) endAttempt(p attempt, err error) {
	switch {
	case errors.Is(err, errBusy):
		// No read was sent to the database.
		v.breaker.withdraw(p)
	case err == nil || isCollectionError(err):
		v.failure.Store(nil)
		if v.breaker.succeeded(p) {
			v.logger.Info("linearizable reads succeed again")
		}
	default:
		now := v.config.Now()
		opened := v.breaker.failed(p, now)
		v.noteFailure(now, err, opened)
		if opened {
			v.logger.Warn("a linearizable read failed, keytail tries one at a time until one succeeds: check that the replica set has a primary and a majority", zap.Error(err))
		}
	}
}

// ReadFailure describes failing linearizable reads, for people.
type ReadFailure struct {
	// Since is when the first read failed, without a success since. At is when the last one did.
	Since, At time.Time
	// Err is the error of the last one.
	Err error
}

// ReadFailure is why the last linearizable read failed. Nil: it succeeded, or there was none.
func (v *Validator) ReadFailure() *ReadFailure { return v.failure.Load() }

// noteFailure records a failed read; first means that the one before it succeeded. Reads that
// fail together may overwrite each other, which loses nothing but a moment.
func (v *Validator) noteFailure(now time.Time, err error, first bool) {
	since := now
	if last := v.failure.Load(); last != nil && !first {
		since = last.Since
	}
	v.failure.Store(&ReadFailure{Since: since, At: now, Err: err})
}

// isCollectionError reports whether the error is the database's answer about
// the collection, rather than a missing answer: reads of other keys would get
// an answer, too.
func isCollectionError(err error) bool {
	for _, answer := range []error{
		keystore.ErrCollectionMissing, keystore.ErrIsView, keystore.ErrIsTimeseries, keystore.ErrCollation,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// Down reports whether the cache is not fresh and the database does not answer
// either.
func (v *Validator) Down() bool {
	if _, ok := v.config.Cache.AnswerAsOf(v.config.Cache.Freshness(), v.config.Now()); ok {
		return false
	}
	v.noteRoundTrip()
	return v.breaker.isOpen()
}

// noteRoundTrip reports to the breaker the last round trip of a heartbeat.
// Without it, a breaker that opened in yesterday's outage would still be open
// in today's.
func (v *Validator) noteRoundTrip() {
	if fresh := v.config.Cache.Freshness(); fresh != nil {
		v.breaker.closeAfter(fresh.AsOf)
	}
}
