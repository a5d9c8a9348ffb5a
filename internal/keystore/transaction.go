package keystore

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/timing"
)

// ErrOutcomeUnknown means that it is unknown whether the write took effect. It
// may have taken effect, or may still do so.
var ErrOutcomeUnknown = errors.New("it is unknown whether the write took effect")

// Error labels by which a server, or the driver, reports how to handle an error.
const (
	labelTransient = "TransientTransactionError"
	labelRetryable = "RetryableWriteError"
)

// endTimeout is the deadline for aborting a transaction that has failed.
const endTimeout = time.Second

// Transact calls write in a transaction that a majority acknowledges. It
// repeats the transaction while the server reports that it may be repeated
// and ctx allows it. It returns the operation time of the commit, which is the
// write's revision. All commands of write must use its context. ctx must have a
// deadline, else the error is ErrNoDeadline.
//
// Any error other than ErrOutcomeUnknown means that nothing was written.
//
// Transact does not use the driver's WithTransaction, which commits without a
// deadline and retries for two minutes regardless of its context.
func (s *Store) Transact(ctx context.Context, write func(ctx context.Context) error) (clustertime.Time, error) {
	if _, ok := ctx.Deadline(); !ok {
		return 0, ErrNoDeadline
	}
	pauses := retryPauses()
	for {
		at, committing, err := s.tryTransaction(ctx, write)
		if err != nil && hasLabel(err, labelTransient) && !(committing && commitMayHaveHappened(err)) && timing.Sleep(ctx, pauses.NextBackOff()) {
			continue
		}
		return outcome(at, committing && commitMayHaveHappened(err), err)
	}
}

// tryTransaction makes one transaction, in its own session. committing means
// that the commit was sent: no earlier command of a transaction takes effect.
func (s *Store) tryTransaction(ctx context.Context, write func(ctx context.Context) error) (at *bson.Timestamp, committing bool, err error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return nil, false, s.explain("writing", err)
	}
	defer endSession(ctx, session)
	err = session.StartTransaction(options.Transaction().
		SetReadConcern(readconcern.Snapshot()).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		return nil, false, s.explain("writing", err)
	}
	if err := write(mongo.NewSessionContext(ctx, session)); err != nil {
		return nil, false, err
	}
	if ctx.Err() != nil {
		return nil, false, s.explain("writing", ctx.Err())
	}
	if err := commit(ctx, session); err != nil {
		return nil, true, s.explain("committing a write", err)
	}
	return session.OperationTime(), true, nil
}

// endSession ends a session, and aborts its transaction if there is one. If the
// abort fails, the server ends the transaction after a minute.
func endSession(ctx context.Context, session *mongo.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	session.EndSession(ctx)
}

// commit repeats the commit until there is an answer, or ctx ends. A
// transaction can be committed any number of times. commit concludes that the
// transaction did not happen only if the server reports that it knows no such
// transaction, or has no transactions at all: before any other error, the
// driver may have made a first attempt whose reply was lost.
func commit(ctx context.Context, session *mongo.Session) error {
	pauses := retryPauses()
	for {
		err := session.CommitTransaction(ctx)
		if err == nil || !commitMayHaveHappened(err) || !timing.Sleep(ctx, pauses.NextBackOff()) {
			return err
		}
	}
}

func retryPauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, longestPause
	return b
}

// WriteOnce calls write, which makes at most one write, in its own session
// without a transaction: it is for servers that have no transactions. Its
// errors are those of Transact.
func (s *Store) WriteOnce(ctx context.Context, write func(ctx context.Context) error) (clustertime.Time, error) {
	return s.inSession(ctx, true, write)
}

// Read is WriteOnce for a function that writes nothing, so that its outcome is
// never unknown. It returns a cluster time that is not before anything that was
// read; zero: nothing was read.
func (s *Store) Read(ctx context.Context, read func(ctx context.Context) error) (clustertime.Time, error) {
	return s.inSession(ctx, false, read)
}

func (s *Store) inSession(ctx context.Context, writes bool, do func(ctx context.Context) error) (clustertime.Time, error) {
	if _, ok := ctx.Deadline(); !ok {
		return 0, ErrNoDeadline
	}
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return 0, s.explain("writing", err)
	}
	defer endSession(ctx, session)
	err = do(mongo.NewSessionContext(ctx, session))
	if err == nil && session.OperationTime() == nil && !writes {
		return 0, nil
	}
	return outcome(session.OperationTime(), writes && isUncertain(err), err)
}

// outcome returns what is known after a write. open means that the write may
// have taken effect although there is an error.
func outcome(at *bson.Timestamp, open bool, err error) (clustertime.Time, error) {
	switch {
	case err != nil && open:
		return 0, &explainedError{"it is unknown whether the write took effect: read the key before you try again", ErrOutcomeUnknown, err}
	case err != nil:
		return 0, err
	case at == nil:
		return 0, &explainedError{"the write took effect, but the server's reply has no operationTime, so its revision is unknown", ErrOutcomeUnknown, nil}
	}
	return clustertime.New(at.T, at.I), nil
}

// commitMayHaveHappened reports whether the transaction may be committed in
// spite of this error of its commit.
func commitMayHaveHappened(err error) bool {
	return err != nil && !hasCode(err, codeNoSuchTransaction, codeIllegalOperation, codeNotInTransaction)
}

// isUncertain reports whether a write may have taken effect in spite of this
// error. If the server returned an error, the write did not happen, with two
// exceptions: the server reports that the majority did not acknowledge it in
// time, or that the command can be retried: then the driver has sent it twice,
// and the first attempt may have succeeded.
func isUncertain(err error) bool {
	return hasLabel(err, labelRetryable) || hasWriteConcernError(err) ||
		mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func hasLabel(err error, label string) bool {
	var labelled mongo.LabeledError
	return errors.As(err, &labelled) && labelled.HasErrorLabel(label)
}

func hasWriteConcernError(err error) bool {
	var write mongo.WriteException
	var bulk mongo.BulkWriteException
	return errors.As(err, &write) && write.WriteConcernError != nil ||
		errors.As(err, &bulk) && bulk.WriteConcernError != nil
}

// HasTransactions finds out whether the server has transactions, by a
// transaction that only reads. An error means that this could not be found out.
func (s *Store) HasTransactions(ctx context.Context) (bool, error) {
	_, err := s.Transact(ctx, func(ctx context.Context) error {
		err := s.keys.FindOne(ctx, bson.D{}, options.FindOne().SetProjection(bson.D{{Key: idField, Value: 1}})).Err()
		if err == nil || errors.Is(err, mongo.ErrNoDocuments) {
			return nil
		}
		return s.explain("trying a transaction", err)
	})
	if hasCode(err, codeIllegalOperation, codeNotInTransaction) {
		return false, nil
	}
	return err == nil, err
}
