package changestream

import (
	"bytes"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keycache"
)

// errFreshnessMiss ends a stream that does not deliver heartbeats.
var errFreshnessMiss = errors.New("heartbeats are acknowledged but do not arrive, so the stream was closed")

// maxFruitlessResumes is how many resumes in a row may bring nothing before the token counts as
// useless. A single one could be an accident.
const maxFruitlessResumes = 2

// heartbeatReceived handles a heartbeat of this instance: everything acknowledged before it was
// sent is earlier in the oplog, and has been applied.
func (t *Tail) heartbeatReceived(nonce int64) error {
	asOf, ok, err := t.config.Heartbeater.tracker.receive(nonce, t.firstCursor)
	if !ok {
		return err
	}
	f := keycache.Freshness{AsOf: asOf, Processed: t.newest.Before()}
	if !guard.ProcessedBefore {
		f.Processed = t.newest
	}
	t.metrics.roundTrip.Observe(keycache.Elapsed(asOf, t.config.Now()).Seconds())
	t.config.Heartbeater.lastFreshness.Store(&f)
	t.config.Sink.Fresh(f)
	t.diagnosis.succeeded()
	t.catchUp.fresh(asOf)
	return nil
}

// checkOverdue ends the stream when an acknowledged heartbeat has not arrived for too long. A
// cursor survives elections: a deposed primary that is cut off from its successor keeps it open
// and delivers nothing. The next open reaches the new primary.
func (t *Tail) checkOverdue(s *stream) error {
	if s.changes.RemainingBatchLength() > 0 || !t.isOverdue(s) {
		return nil
	}
	t.metrics.misses.Inc()
	return errFreshnessMiss
}

func (t *Tail) isOverdue(s *stream) bool {
	h := t.config.Heartbeater
	now, limit := t.config.Now(), h.config.MaxStale/MaxStaleParts
	if t.config.Scope == ScopeCollection {
		return h.tracker.isUncovered(now, limit)
	}
	return h.tracker.isOverdue(s.opened, now, limit)
}

// checkProgress examines a resumed stream that has ended with err. It turns err into a loss if
// this is the second stream in a row that brought nothing although a majority accepted a heartbeat
// that was sent while it was open. Such a token will not work: a token ahead of the oplog, for
// example after the oplog was restored, is accepted and then delivers nothing, forever. A stream
// during which no heartbeat was acknowledged is no evidence.
func (t *Tail) checkProgress(s *stream, err error) error {
	switch {
	case classify(err) != nil || errors.Is(err, errOutageOver):
		return err
	case t.hasMadeProgress(s):
		t.fruitless = 0
	case s.resumed && t.config.Heartbeater.tracker.hasUndelivered(s.opened):
		t.fruitless++
	}
	if t.fruitless < maxFruitlessResumes {
		return err
	}
	return lost(reasonNoProgress, err)
}

// hasMadeProgress reports whether the stream brought a heartbeat or a change, or at least moved.
func (t *Tail) hasMadeProgress(s *stream) bool {
	return s.events > 0 || isLater(s.openedAfter, t.token)
}

// isLater reports whether one token is later in the oplog than another. The same position can have
// two tokens, an event's and a batch's, so the times are compared where they can be read.
func isLater(from, to bson.Raw) bool {
	was, ok := tokenTime(from)
	is, ok2 := tokenTime(to)
	if ok && ok2 {
		return is > was
	}
	return !bytes.Equal(from, to)
}
