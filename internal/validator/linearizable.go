package validator

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// readLinearizable answers when the stream has not been heard of for longer than
// max_stale: with a linearizable read that began after this caller arrived.
// Nothing is stored.
func (v *Validator) readLinearizable(ctx context.Context, hash apikey.Hash, needed clustertime.Time) (keycache.Answer, apikey.Source, error) {
	v.heard()
	if v.breaker.busy() {
		// Nor does anybody wait for its turn.
		return keycache.Answer{}, apikey.SourceNone, errBreaker
	}
	// Not known(): what a stream begins with may still be rolled back.
	asked, err := v.rejectAhead(ctx, needed, v.processed())
	if err != nil {
		return keycache.Answer{}, apikey.SourceNone, err
	}
	s, err := v.linearizable.do(ctx, hash)
	if err != nil {
		return keycache.Answer{}, apikey.SourceNone, err
	}
	// Heartbeats had failed, but one may tell now. A revision that somebody was given
	// is of a change that a majority had acknowledged before this request, so the
	// read contains it.
	if !asked && s.fresh.Processed < needed && v.isAhead(ctx, needed) {
		return keycache.Answer{}, apikey.SourceNone, errAhead
	}
	answer, err := v.answer(s)
	answer.Revision = max(answer.Revision, needed)
	return answer, apikey.SourceLinearizable, err
}

// runLinearizable is a flight of readLinearizable. Its age counts from before
// the read is sent: only what was acknowledged by then is in it for certain.
func (v *Validator) runLinearizable(hash apikey.Hash) (seen, error) {
	pass, ok := v.breaker.enter()
	if !ok {
		return seen{}, errBreaker
	}
	fresh := &keycache.Freshness{AsOf: v.config.Now(), Processed: v.processed()}
	finding, err := v.within(context.Background(), kindLinearizable, func(ctx context.Context) (keystore.Document, bool, error) {
		// A stream that is not heard of does not tell of a drop either.
		return v.insist(ctx, true, func() (keystore.Document, bool, error) { return v.config.Store.FindLinearizable(ctx, hash) })
	})
	v.leave(pass, err)
	return seen{fresh: fresh, finding: finding}, err
}

// leave tells the breaker how an attempt went.
func (v *Validator) leave(p pass, err error) {
	switch {
	case errors.Is(err, errBusy):
		// The database was not asked.
		v.breaker.withdraw(p)
	case err == nil || isAnswer(err):
		if v.breaker.succeeded(p) {
			v.logger.Info("a linearizable read was answered again")
		}
	default:
		if v.breaker.failed(p, v.config.Now()) {
			v.logger.Warn("a linearizable read failed: one at a time is tried until one is answered", zap.Error(err))
		}
	}
}

// isAnswer reports whether the error is the database's answer about the
// collection, and not the want of one: other keys would be answered.
func isAnswer(err error) bool {
	for _, answer := range []error{
		keystore.ErrCollectionMissing, keystore.ErrIsView, keystore.ErrIsTimeseries, keystore.ErrCollation,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// Down reports whether memory is too old and the database does not answer
// either.
func (v *Validator) Down() bool {
	if _, ok := v.config.Cache.AnswerAsOf(v.config.Cache.Freshness(), v.config.Now()); ok {
		return false
	}
	v.heard()
	return v.breaker.isOpen()
}

// heard tells the breaker of the last heartbeat that came back: without it, a
// breaker that opened in an outage of yesterday would be open in that of today.
func (v *Validator) heard() {
	if fresh := v.config.Cache.Freshness(); fresh != nil {
		v.breaker.heard(fresh.AsOf)
	}
}
