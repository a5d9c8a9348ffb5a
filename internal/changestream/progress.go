package changestream

import (
	"bytes"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keycache"
)

// errFreshnessMiss ends a stream that keeps heartbeats back.
var errFreshnessMiss = errors.New("heartbeats are acknowledged but do not come back, so the stream was given up")

// fruitlessReopenings is how many reopenings in a row may bring nothing before
// the token is thought to be worthless. One could be an accident.
const fruitlessReopenings = 2

// heartbeat takes in one of our own: everything acknowledged before it was sent
// comes before it in the log, and has been applied.
func (t *Tail) heartbeatReceived(nonce int64) error {
	asOf, ok, err := t.config.Heartbeater.tracker.receive(nonce, t.firstCursor)
	if !ok {
		return err
	}
	f := keycache.Freshness{AsOf: asOf, Processed: t.newest.Before()}
	if !guard.ProcessedBefore {
		f.Processed = t.newest
	}
	t.config.Heartbeater.lastFreshness.Store(&f)
	t.config.Sink.Fresh(f)
	t.catchUp.fresh(asOf)
	return nil
}

// overdue ends the stream when an acknowledged heartbeat has not come back for
// too long. A cursor survives elections: a deposed primary that is cut off from
// its successor keeps it open, and says nothing. Opened again, it is on the new
// primary.
func (t *Tail) checkOverdue(s *stream) error {
	h := t.config.Heartbeater
	if s.changes.RemainingBatchLength() > 0 || !h.tracker.overdue(s.opened, t.config.Now(), h.config.MaxStale/MaxStaleParts) {
		return nil
	}
	t.metrics.misses.Inc()
	return errFreshnessMiss
}

// judge looks back at a resumed stream that has ended with err, and makes that a
// loss when it is the second in a row that brought nothing, although a majority
// took a heartbeat that was sent while it was open. Such a token will not work:
// one that is ahead of the log, say after the log was restored, is accepted and
// idles for ever. A stream during which no heartbeat was acknowledged says
// nothing, either way.
func (t *Tail) checkProgress(s *stream, err error) error {
	switch {
	case classify(err) != nil || errors.Is(err, errOutageOver):
		return err
	case t.madeProgress(s):
		t.fruitless = 0
	case s.resumed && t.config.Heartbeater.tracker.hasUndelivered(s.opened):
		t.fruitless++
	}
	if t.fruitless < fruitlessReopenings {
		return err
	}
	return lost(reasonNoProgress, err)
}

// progressed reports whether the stream brought anything, a heartbeat or a
// change, or at least moved.
func (t *Tail) madeProgress(s *stream) bool {
	return s.events > 0 || isLater(s.openedAfter, t.token)
}

// later reports whether a token is further on in the log than another one. The
// same place can have two tokens, an event's and a batch's, so the times are
// compared where they can be read.
func isLater(from, to bson.Raw) bool {
	was, ok := tokenTime(from)
	is, ok2 := tokenTime(to)
	if ok && ok2 {
		return is > was
	}
	return !bytes.Equal(from, to)
}
