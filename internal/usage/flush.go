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
)

const (
	// idField is the name that MongoDB gives a document's identity.
	idField = "_id"
	// maxRefused bounds the documents that are remembered as logged.
	maxRefused = 1000
)

// bulkWriter is what a flush needs of a collection.
type bulkWriter interface {
	BulkWrite(context.Context, []mongo.WriteModel, ...options.Lister[options.BulkWriteOptions]) (*mongo.BulkWriteResult, error)
}

// Flush writes all that waits. An error says that the database did not take all of
// it: the rest waits for the next flush. A document that does not take its own
// update is no error.
func (u *Recorder) Flush(ctx context.Context) error { return u.flush(ctx, batchTimeout) }

// flush gives each command so much time.
func (u *Recorder) flush(ctx context.Context, limit time.Duration) error {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	taken := u.collect()
	if len(taken) == 0 {
		return nil
	}
	defer func(began time.Time) { u.metrics.duration.Observe(time.Since(began).Seconds()) }(time.Now())
	rest, err := u.writeAll(ctx, taken, limit)
	u.mergeBack(rest)
	u.taken.Store(0)
	u.settle(taken)
	u.report(err)
	return err
}

// writeAll sends commands until all is written, and returns what it did not try to
// send. A command that times out is followed by smaller ones, for an interval: by
// then the next flush begins, and shows whether they are small enough. Any other
// error ends the flush at once.
func (u *Recorder) writeAll(ctx context.Context, rest []pending, limit time.Duration) ([]pending, error) {
	began := time.Now()
	var failure error
	for len(rest) > 0 {
		if ctx.Err() != nil {
			return rest, cmp.Or(failure, ctx.Err())
		}
		n := min(u.batch.within(limit), len(rest))
		sent := time.Now()
		err := u.write(ctx, rest[:n], limit)
		rest = rest[n:]
		u.taken.Store(int64(len(rest)))
		if err == nil {
			u.batch.wrote(n, time.Since(sent), limit)
			continue
		}
		failure = err
		if !tooSlow(err) || !u.batch.halve(n, limit) || time.Since(began) > u.config.Interval {
			break
		}
	}
	return rest, failure
}

// write sends one command. It is never cut off by a stop, which would leave its
// outcome unknown; the deadline of a stop holds for it, though.
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
		// The write concern's error, if there is one, says that the write may be
		// rolled back. It is applied.
		u.refuse(batch, bulk.WriteErrors)
		u.matched(len(batch)-len(bulk.WriteErrors), result)
		return nil
	case notApplied(err):
		u.mergeBack(batch)
	default:
		u.forget(batch)
	}
	return err
}

// models are the updates of a batch. A document whose _id cannot be asked for is
// left out; no stored document has such an _id.
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

// filter finds the document, unless its last_used is something else than a date:
// $max would put a date in the place of a number or a text, since it compares
// values of any types. ($inc refuses what is no number by itself.)
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

// notApplied reports whether nothing of a failed command can have happened.
//
// The driver has tried the command twice by now, under one transaction number, so
// that the server did not apply it twice. Past that, a $inc that is sent anew in a
// new command is counted twice if the first one did arrive. So whatever leaves that
// open is not sent anew. What is known not to have happened: there was no server or
// no connection to send it on, the server says so by a label, or it refused the
// command as a whole before it began.
func notApplied(err error) bool {
	var selection topology.ServerSelectionError
	var queue topology.WaitQueueTimeoutError
	if errors.As(err, &selection) || errors.As(err, &queue) {
		return true
	}
	var server mongo.ServerError
	if !errors.As(err, &server) {
		// A connection that breaks under a command is an error of the command.
		var connecting topology.ConnectionError
		return errors.As(err, &connecting)
	}
	if server.HasErrorLabel(driver.NoWritesPerformed) {
		return true
	}
	return slices.ContainsFunc(refusals[:], server.HasErrorCode)
}

// refusals are the codes of a server that does not even begin: FailedToParse,
// Unauthorized, AuthenticationFailed, IllegalOperation, CommandNotFound,
// InvalidOptions, CommandNotSupportedOnView, ReauthenticationRequired, and what
// Atlas has for all of them. Of others (a stepdown, a shutdown, a kill) some come
// half-way.
var refusals = [...]int{9, 13, 18, 20, 59, 72, 166, 391, 8000}

// mergeBack puts back what was not applied.
func (u *Recorder) mergeBack(batch []pending) {
	for _, p := range batch {
		u.note(p.id, p.count, p.last)
	}
}

// forget gives up the counts of a batch that may have been applied. The times are
// put back: to write them twice changes nothing.
func (u *Recorder) forget(batch []pending) {
	for _, p := range batch {
		u.countDropped(u.metrics.unknown, p.count)
		if u.config.LastUsed != "" {
			u.note(p.id, 0, p.last)
		}
	}
}

// countDropped counts uses that will not be in usage_count, if there is one.
func (u *Recorder) countDropped(why prometheus.Counter, uses int64) {
	if u.config.UsageCount != "" {
		why.Add(float64(uses))
	}
}

// refuse takes note of documents that do not take their update, mostly because
// usage_count is no number there (TypeMismatch, 14). All others of the command were
// updated. It would not be otherwise the next time, so nothing is put back, save
// when the server had no time for it; a document that is used again is asked again.
func (u *Recorder) refuse(batch []pending, errs []mongo.BulkWriteError) {
	for _, e := range errs {
		if e.Index < 0 || e.Index >= len(batch) {
			continue
		}
		p := batch[e.Index]
		if slices.Contains(passing[:], e.Code) {
			u.note(p.id, p.count, p.last)
			continue
		}
		u.metrics.refused.Inc()
		u.countDropped(u.metrics.unwilling, p.count)
		if u.remember(p.id) {
			u.logger.Warn("a key's document does not take the count and time of its use: see that they are a number and a date",
				zap.String("key_id", u.inWords(p.id)), zap.Int("code", e.Code),
				zap.String("last_used", u.config.LastUsed), zap.String("usage_count", u.config.UsageCount))
		}
	}
}

// passing are codes of one update that say nothing about its document: LockTimeout,
// MaxTimeMSExpired, ShutdownInProgress, WriteConflict, PrimarySteppedDown,
// NotWritablePrimary, and the interruptions. The update did not happen.
var passing = [...]int{24, 50, 91, 112, 189, 10107, 11600, 11601, 11602}

// remember reports whether a document is to be logged.
func (u *Recorder) remember(id apikey.DocID) bool {
	if _, known := u.refused[id]; known || len(u.refused) >= maxRefused {
		return false
	}
	u.refused[id] = struct{}{}
	return true
}

// matched counts what was written, of so many updates that nothing refused.
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
		u.logger.Info("keys that were used are not updated: they are gone meanwhile, or their last_used is no date",
			zap.Int("keys", missing), zap.String("last_used", u.config.LastUsed))
	}
}

// maxWords bounds the text for an _id.
const maxWords = 128

// inWords is a document's _id for people, as Extended JSON.
func (u *Recorder) inWords(id apikey.DocID) string {
	v, err := u.config.IDValue(id)
	if err != nil {
		return "unknown"
	}
	text := v.String()
	return text[:min(len(text), maxWords)]
}
