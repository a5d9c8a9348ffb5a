package changestream

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// The results of a heartbeat, as labels of a metric.
const (
	resultAcknowledged = "acknowledged"
	resultFailed       = "failed"
	resultRefused      = "refused"
)

// The fields of a heartbeat that are read again: by the tail, by the next heartbeat, by the TTL
// index, by the fleet.
const (
	fieldID     = "_id"
	fieldNonce  = "n"
	fieldAnchor = "anchor"
	fieldSeq    = "seq"
	fieldAt     = "at"

	fieldProcessed = "processed"
	fieldStaleness = "staleness_ms"
)

// sendHeartbeat sends one heartbeat and answers the callers that waited for it.
func (h *Heartbeater) sendHeartbeat(ctx context.Context) {
	f := h.takeWaiting()
	defer close(f.done)
	ctx, cancel := h.writeContext(ctx)
	defer cancel()
	b := h.tracker.send(h.config.Now())
	f.at, f.err = h.write(ctx, b)
	switch {
	case f.err == nil:
		h.tracker.acknowledge(b.nonce, f.at, h.config.Now())
		if h.acknowledged != nil {
			h.acknowledged(f.at)
		}
	case errors.Is(f.err, errRewound):
		h.results.WithLabelValues(resultRefused).Inc()
		if !h.tracker.noteRefused(b.nonce) {
			h.requestNow() // the next one is written for any content of the document
		}
		return // the loss is logged instead
	case errors.Is(ctx.Err(), context.Canceled):
		return // a stop has cancelled it: this is no failure
	}
	h.recordResult(f.err)
}

// writeContext is the context of one heartbeat. It lives for a while after a stop: a write that
// was cut off might reach the server after the document's deletion, and bring it back.
func (h *Heartbeater) writeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.config.MaxStale/MaxStaleParts)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopTimeout, cancel) })
	return limited, func() {
		stop()
		cancel()
	}
}

// write writes the document and returns the operationTime of the acknowledgement. It uses a fresh
// session, because a used one remembers later times. errRewound: the document did not hold what it
// must, and nothing was written.
func (h *Heartbeater) write(ctx context.Context, b heartbeatWrite) (clustertime.Time, error) {
	session, err := h.beats.Database().Client().StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return 0, err
	}
	defer session.EndSession(context.Background())
	// The nonce is a different one each time, so the write is never a no-op, which would make no
	// event.
	result, err := h.beats.UpdateOne(mongo.NewSessionContext(ctx, session), b.filter(h.id), h.updateDocument(b), options.UpdateOne().SetUpsert(b.after == nil))
	if err != nil {
		return 0, err
	}
	if result.MatchedCount+result.UpsertedCount == 0 {
		return 0, errRewound
	}
	if result.UpsertedCount > 0 && b.seq > 1 {
		h.recreateIndex(ctx)
	}
	at := session.OperationTime()
	if at == nil {
		return 0, errors.New("the server's acknowledgement has no operationTime")
	}
	return clustertime.New(at.T, at.I), nil
}

// updateDocument is what the instance reports about itself. It removes the fields that the
// instance does not know, not yet or not any more after a loss. (A processed of zero would be
// wrong: MongoDB replaces an empty timestamp by its own current one.)
func (h *Heartbeater) updateDocument(b heartbeatWrite) bson.D {
	known, unknown := h.document(b), bson.D{}
	for _, name := range []string{fieldProcessed, fieldStaleness} {
		if !slices.ContainsFunc(known, func(e bson.E) bool { return e.Key == name }) {
			unknown = append(unknown, bson.E{Key: name, Value: ""})
		}
	}
	update := bson.D{{Key: "$set", Value: known}, {Key: "$currentDate", Value: bson.D{{Key: fieldAt, Value: true}}}}
	if len(unknown) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: unknown})
	}
	return update
}

func (h *Heartbeater) document(b heartbeatWrite) bson.D {
	d := bson.D{
		{Key: fieldNonce, Value: b.nonce},
		{Key: fieldAnchor, Value: b.anchor},
		{Key: fieldSeq, Value: b.seq},
		{Key: "max_stale_ms", Value: h.config.MaxStale.Milliseconds()},
		{Key: "ns", Value: h.config.Database.Name() + "." + h.config.Collection},
		{Key: "version", Value: h.config.Version},
	}
	f := h.lastFreshness.Load()
	if f == nil {
		return d
	}
	d = append(d, bson.E{Key: fieldStaleness, Value: keycache.Elapsed(f.AsOf, h.config.Now()).Milliseconds()})
	if f.Processed != 0 {
		d = append(d, bson.E{Key: fieldProcessed, Value: bson.Timestamp{T: f.Processed.Seconds(), I: f.Processed.Increment()}})
	}
	return d
}

// recreateIndex creates the index again after someone dropped the collection, or deleted the
// document, which looks the same.
func (h *Heartbeater) recreateIndex(ctx context.Context) {
	h.logger.Warn("the heartbeat document was missing and has been written again")
	if err := h.createIndex(ctx); err != nil {
		h.logger.Warn("the index that removes dead instances could not be created again", zap.Error(err))
	}
}

// forget is called by the tail when the history is lost. The processed time belongs to that
// history, and its times may occur again in the next one.
func (h *Heartbeater) forget() {
	h.tracker.forget()
	h.lastFreshness.Store(nil)
}

// reminderInterval is the time between two log lines about heartbeats that fail.
const reminderInterval = time.Minute

// recordResult counts a heartbeat. It logs when the result has changed, and every minute while
// heartbeats fail.
func (h *Heartbeater) recordResult(err error) {
	result := resultAcknowledged
	if err != nil {
		result = resultFailed
	}
	h.results.WithLabelValues(result).Inc()
	h.diagnose(err)
	now, changed := h.config.Now(), result != h.lastResult
	if !changed && (err == nil || keycache.Elapsed(h.loggedAt, now) < reminderInterval) {
		return
	}
	h.lastResult, h.loggedAt = result, now
	if err != nil {
		h.logger.Warn("heartbeats are not acknowledged, so answers from the cache end when they are max_stale old", zap.String("advice", heartbeatAdvice(err)), zap.Error(err))
		return
	}
	h.logger.Info("heartbeats are acknowledged", zap.String("instance", h.id))
}

// diagnose records the result of a heartbeat for others.
func (h *Heartbeater) diagnose(err error) {
	if err == nil {
		h.diagnosis.succeeded()
		return
	}
	h.diagnosis.failed(h.config.Now(), err, heartbeatAdvice(err))
}

// adviceMajority is for writes, which need more than a primary: without a majority they time
// out while the primary answers. The service says the same of reads.
const adviceMajority = "check that the replica set has a primary and a majority, and that keytail can reach it"

// The server's codes of a write that the primary has, and a majority has not acknowledged.
const (
	codeWriteConcernTimeout       = 64
	codeUnsatisfiableWriteConcern = 100
)

// heartbeatAdvice returns what to do about a heartbeat that failed.
func heartbeatAdvice(err error) string {
	if keystore.NotAllowed(err) {
		return "grant the user insert and update on the heartbeat collection (docs/deploy.md, Privileges)"
	}
	f, _ := describe(err)
	if code, _ := serverCode(err); f.code == failedTimeout || code == codeWriteConcernTimeout || code == codeUnsatisfiableWriteConcern {
		return adviceMajority
	}
	return f.advice
}

// deleteDocument deletes the document, so that the fleet does not wait for this instance. If that
// fails, the document ages until the TTL index removes it.
func (h *Heartbeater) deleteDocument(ctx context.Context) {
	if !h.tracker.anySent() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if _, err := h.beats.DeleteOne(ctx, bson.D{{Key: fieldID, Value: h.id}}); err != nil {
		h.logger.Warn("the heartbeat document could not be deleted; the server removes it within a day", zap.Error(err))
	}
}
