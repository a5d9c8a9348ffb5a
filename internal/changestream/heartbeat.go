package changestream

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
)

// The results of a heartbeat, as labels of a metric.
const (
	resultAcknowledged = "acknowledged"
	resultFailed       = "failed"
)

// The fields of a heartbeat that are read again: by the tail, by the TTL index.
const (
	fieldID    = "_id"
	fieldNonce = "n"
	fieldAt    = "at"
)

// beat sends one heartbeat and tells those who waited for it.
func (h *Heart) beat(ctx context.Context) {
	f := h.depart()
	defer close(f.done)
	ctx, cancel := h.untilLeft(ctx)
	defer cancel()
	n := h.memory.send(h.config.Now())
	f.at, f.err = h.write(ctx, n)
	if f.err == nil {
		h.memory.acknowledge(n, f.at, h.config.Now())
		if h.acknowledged != nil {
			h.acknowledged(f.at)
		}
	}
	h.note(f.err)
}

// untilLeft is the context of one heartbeat. It outlives a stop for a while: a
// write that was cut off might reach the server after the document's deletion,
// and bring it back.
func (h *Heart) untilLeft(ctx context.Context) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.config.MaxStale/MaxStaleParts)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(leaveTimeout, cancel) })
	return limited, func() {
		stop()
		cancel()
	}
}

// write upserts the document and returns the operationTime of the
// acknowledgement. The session is fresh: a used one remembers later times.
func (h *Heart) write(ctx context.Context, n int64) (clustertime.Time, error) {
	session, err := h.beats.Database().Client().StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return 0, err
	}
	defer session.EndSession(context.Background())
	// The nonce is another one each time, so the write is never a no-op, which
	// would make no event.
	result, err := h.beats.UpdateByID(mongo.NewSessionContext(ctx, session), h.id, bson.D{
		{Key: "$set", Value: h.document(n)},
		{Key: "$currentDate", Value: bson.D{{Key: fieldAt, Value: true}}},
	}, options.UpdateOne().SetUpsert(true))
	if err != nil {
		return 0, err
	}
	if result.UpsertedCount > 0 && n > 1 {
		h.again(ctx)
	}
	at := session.OperationTime()
	if at == nil {
		return 0, errors.New("the server's acknowledgement has no operationTime")
	}
	return clustertime.New(at.T, at.I), nil
}

// document is what the instance says of itself. What it does not know yet is
// left out. (A processed of zero would be worse than useless: MongoDB replaces
// an empty timestamp with its own present one.)
func (h *Heart) document(n int64) bson.D {
	d := bson.D{
		{Key: fieldNonce, Value: n},
		{Key: "max_stale_ms", Value: h.config.MaxStale.Milliseconds()},
		{Key: "ns", Value: h.config.Database.Name() + "." + h.config.Collection},
		{Key: "version", Value: h.config.Version},
	}
	f := h.landed.Load()
	if f == nil {
		return d
	}
	d = append(d, bson.E{Key: "staleness_ms", Value: keycache.Elapsed(f.AsOf, h.config.Now()).Milliseconds()})
	if f.Processed != 0 {
		d = append(d, bson.E{Key: "processed", Value: bson.Timestamp{T: f.Processed.Seconds(), I: f.Processed.Increment()}})
	}
	return d
}

// again puts the index back after somebody dropped the collection, or deleted
// the document, which looks the same.
func (h *Heart) again(ctx context.Context) {
	h.logger.Warn("the heartbeat's document was gone and has been written anew")
	if err := h.createIndex(ctx); err != nil {
		h.logger.Warn("the index that removes dead instances could not be created again", zap.Error(err))
	}
}

// note counts a heartbeat, and logs when things have changed.
func (h *Heart) note(err error) {
	result := resultAcknowledged
	if err != nil {
		result = resultFailed
	}
	h.results.WithLabelValues(result).Inc()
	if result == h.health {
		return
	}
	h.health = result
	if err != nil {
		h.logger.Warn("heartbeats are not acknowledged, so answers from memory end when they are max_stale old", zap.Error(err))
		return
	}
	h.logger.Info("heartbeats are acknowledged", zap.String("instance", h.id))
}

// leave deletes the document, so that the fleet does not wait for this instance.
// If that fails the document ages, and the TTL index takes it.
func (h *Heart) leave(ctx context.Context) {
	if !h.memory.any() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if _, err := h.beats.DeleteOne(ctx, bson.D{{Key: fieldID, Value: h.id}}); err != nil {
		h.logger.Warn("the heartbeat's document stays behind, and is removed a day from now", zap.Error(err))
	}
}
