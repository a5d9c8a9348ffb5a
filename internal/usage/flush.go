package usage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/tracing"
)

const (
	// idField is MongoDB's field for the identity of a document.
	idField = "_id"
	// maxRefused is how many documents are remembered as logged.
	maxRefused = 1000
)

// bulkWriter is the part of a collection that a flush uses.
type bulkWriter interface {
	BulkWrite(context.Context, []mongo.WriteModel, ...options.Lister[options.BulkWriteOptions]) (*mongo.BulkWriteResult, error)
}

// Flush writes all pending uses, of keys that are not due as well. An error means that the database did not
// accept all of them: the others wait for the next flush. A document that
// cannot take its own update is not an error.
func (u *Recorder) Flush(ctx context.Context) error { return u.flush(ctx, batchTimeout, true) }

// flush is Flush with a deadline for each command. Without all it leaves out keys
// that were written a short time ago.
func (u *Recorder) flush(ctx context.Context, limit time.Duration, all bool) error {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	taken := u.collect(all)
	if len(taken) == 0 {
		return nil
	}
	ctx, span := tracing.StartWork(ctx, tracing.SpanUsage)
	defer span.End()
	span.SetAttributes(tracing.UsageKeys.Int(len(taken)))
	defer func(began time.Time) { u.metrics.duration.Observe(time.Since(began).Seconds()) }(time.Now())
	rest, err := u.writeAll(ctx, taken, limit)
	if err != nil {
		tracing.Fail(span, "write_failed")
	}
	u.mergeBack(rest)
	u.taken.Store(0)
	u.removeWritten(taken)
	u.report(err)
	return err
}

// writeAll sends commands until everything is written, and returns what it did
// not try to send. After a command that times out it sends smaller ones, for
// one interval: the next flush is due by then, and shows whether they are small
// enough. Any other error ends the flush immediately.
func (u *Recorder) writeAll(ctx context.Context, rest []pending, limit time.Duration) ([]pending, error) {
	began := time.Now()
	var failure error
	for len(rest) > 0 {
		if ctx.Err() != nil {
			return rest, cmp.Or(failure, ctx.Err())
		}
		n := min(u.batch.sizeFor(limit), len(rest))
		sent := time.Now()
		err := u.write(ctx, rest[:n], limit)
		rest = rest[n:]
		u.taken.Store(int64(len(rest)))
		if err == nil {
			u.batch.observe(n, time.Since(sent), limit)
			continue
		}
		failure = err
		if !isTooSlow(err) || !u.batch.halve(n, limit) || time.Since(began) > u.config.flushInterval() {
			break
		}
	}
	return rest, failure
}

// write sends one command. A shutdown does not cancel it, because that would
// make its outcome unknown; but the deadline of the shutdown applies.
func (u *Recorder) write(ctx context.Context, batch []pending, limit time.Duration) error {
	end := time.Now().Add(limit)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	batch, models := u.models(batch)
	if len(models) == 0 {
		return nil
	}
	result, err := u.writer.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	var bulk mongo.BulkWriteException
	switch {
	case err == nil || errors.As(err, &bulk):
		// The error of the write concern, if there is one, means that the write
		// may be rolled back. It has been applied.
		u.recordRefused(batch, bulk.WriteErrors)
		u.matched(len(batch)-len(bulk.WriteErrors), result)
		return nil
	case wasNotApplied(err):
		u.mergeBack(batch)
	default:
		u.dropCounts(batch)
	}
	return err
}

// models returns the updates of a batch. It leaves out a document whose _id a
// filter cannot match; no stored document has such an _id.
func (u *Recorder) models(batch []pending) ([]pending, []mongo.WriteModel) {
	kept, models := make([]pending, 0, len(batch)), make([]mongo.WriteModel, 0, len(batch))
	for _, p := range batch {
		id, err := u.config.IDValue(p.id)
		if err != nil {
			continue
		}
		kept = append(kept, p)
		models = append(models, mongo.NewUpdateOneModel().SetFilter(u.filter(id)).SetUpdate(u.update(p)))
	}
	return kept, models
}

// filter matches the document, unless its last_used has a value that is not a
// date: $max would replace a number or a text by a date, because it compares
// values of any types. ($inc itself rejects a value that is not a number.)
func (u *Recorder) filter(id bson.RawValue) bson.D {
	f := bson.D{{Key: idField, Value: id}}
	if u.config.LastUsed == "" {
		return f
	}
	return append(f, bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: u.config.LastUsed, Value: nil}}, // or absent
		bson.D{{Key: u.config.LastUsed, Value: bson.D{{Key: "$type", Value: "date"}}}},
	}})
}

func (u *Recorder) update(p pending) bson.D {
	var d bson.D
	if u.config.LastUsed != "" {
		d = append(d, bson.E{Key: "$max", Value: bson.D{{Key: u.config.LastUsed, Value: bson.DateTime(p.last)}}})
	}
	if u.config.UsageCount != "" && (p.count > 0 || len(d) == 0) {
		d = append(d, bson.E{Key: "$inc", Value: bson.D{{Key: u.config.UsageCount, Value: p.count}}})
	}
	return d
}

// wasNotApplied reports whether a failed command certainly had no effect.
//
// By now, the driver has sent the command twice, under one transaction number,
// so that the server did not apply it twice. But a $inc that is sent again in a
// new command is counted twice if the first one did arrive. So a command is not
// sent again if it may have arrived. It certainly had no effect in these cases:
// there was no server or no connection to send it on, the server reports this
// by a label, or the server rejected the whole command before it began.
func wasNotApplied(err error) bool {
	var selection topology.ServerSelectionError
	var queue topology.WaitQueueTimeoutError
	if errors.As(err, &selection) || errors.As(err, &queue) {
		return true
	}
	var server mongo.ServerError
	if !errors.As(err, &server) {
		// A connection that breaks during a command is an error of the command.
		var connecting topology.ConnectionError
		return errors.As(err, &connecting)
	}
	if server.HasErrorLabel(driver.NoWritesPerformed) {
		return true
	}
	return slices.ContainsFunc(notAppliedCodes[:], server.HasErrorCode)
}

// notAppliedCodes are the codes of a server that does not even begin:
// FailedToParse, Unauthorized, AuthenticationFailed, IllegalOperation,
// CommandNotFound, InvalidOptions, CommandNotSupportedOnView,
// ReauthenticationRequired, and the code that Atlas has for all of them. Other
// errors (a stepdown, a shutdown, a kill) may come when a command is half done.
var notAppliedCodes = [...]int{9, 13, 18, 20, 59, 72, 166, 391, 8000}

// mergeBack makes a batch that was not applied pending again.
func (u *Recorder) mergeBack(batch []pending) {
	for _, p := range batch {
		u.addBack(p.id, p.count, p.last)
	}
}

// dropCounts drops the counts of a batch that may have been applied. The times
// become pending again: writing them twice changes nothing.
func (u *Recorder) dropCounts(batch []pending) {
	for _, p := range batch {
		u.countDropped(u.metrics.unknown, p.count)
		if u.config.LastUsed != "" {
			u.addBack(p.id, 0, p.last)
		}
	}
}

// countDropped counts uses that will not be in usage_count, if the documents
// have that field.
func (u *Recorder) countDropped(why prometheus.Counter, uses int64) {
	if u.config.UsageCount != "" {
		why.Add(float64(uses))
	}
}

// recordRefused handles documents that cannot take their update, mostly because
// their usage_count is not a number (TypeMismatch, 14). All others of the
// command were updated. The next attempt would fail, too, so the uses are
// dropped, except when the server only had no time for the update. If the key
// is used again, the update is tried again.
func (u *Recorder) recordRefused(batch []pending, errs []mongo.BulkWriteError) {
	for _, e := range errs {
		if e.Index < 0 || e.Index >= len(batch) {
			continue
		}
		p := batch[e.Index]
		if slices.Contains(transientCodes[:], e.Code) {
			u.addBack(p.id, p.count, p.last)
			continue
		}
		u.metrics.refused.Inc()
		u.countDropped(u.metrics.unwilling, p.count)
		if u.markLogged(p.id) {
			u.logger.Warn("a key's document rejects the update of its use: make sure that usage_count is a number and last_used a date",
				zap.String("key_id", u.idForLog(p.id)), zap.Int("code", e.Code),
				zap.String("last_used", u.config.LastUsed), zap.String("usage_count", u.config.UsageCount))
		}
	}
}

// transientCodes are codes of one update that are unrelated to its document:
// LockTimeout, MaxTimeMSExpired, ShutdownInProgress, WriteConflict,
// PrimarySteppedDown, NotWritablePrimary, and the interruptions. The update was
// not made.
var transientCodes = [...]int{24, 50, 91, 112, 189, 10107, 11600, 11601, 11602}

// markLogged reports whether a document must be logged.
func (u *Recorder) markLogged(id apikey.DocID) bool {
	if _, known := u.refused[id]; known || len(u.refused) >= maxRefused {
		return false
	}
	u.refused[id] = struct{}{}
	return true
}

// matched counts what was written, of the updates that were not refused.
func (u *Recorder) matched(updates int, result *mongo.BulkWriteResult) {
	found := updates
	if result != nil {
		found = int(result.MatchedCount)
	}
	u.metrics.written.Add(float64(found))
	missing := updates - found
	if missing <= 0 {
		return
	}
	u.metrics.unmatched.Add(float64(missing))
	if !u.unmatched {
		u.unmatched = true
		u.logger.Info("some used keys were not updated, because they were deleted or their last_used is not a date",
			zap.Int("keys", missing), zap.String("last_used", u.config.LastUsed))
	}
}

// maxIDText is the maximum length of an _id in a log line.
const maxIDText = 128

// idForLog returns a document's _id for people, as Extended JSON.
func (u *Recorder) idForLog(id apikey.DocID) string {
	v, err := u.config.IDValue(id)
	if err != nil {
		return "unknown"
	}
	text := v.String()
	return text[:min(len(text), maxIDText)]
}
