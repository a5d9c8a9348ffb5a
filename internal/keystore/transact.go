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
)

// ErrOutcomeUnknown says that nobody knows whether the write took effect. It may have, or
// may still.
var ErrOutcomeUnknown = errors.New("it is not known whether the write took effect")

// The labels by which a server, or the driver, says what to do about an error.
const (
	labelTransient = "TransientTransactionError"
	labelRetryable = "RetryableWriteError"
)

// endTimeout bounds the abort of a transaction that has failed already.
const endTimeout = time.Second

// Transact calls write in a transaction that a majority acknowledges, again as
// long as the server says that it may be tried again and ctx allows, and returns
// the operationTime after its commit: the write's revision. All of write's
// commands take its context. ctx must have a deadline, else ErrNoDeadline.
//
// An error that is not ErrOutcomeUnknown means that nothing has been written.
//
// The driver's own WithTransaction would not do: it commits without a deadline,
// and goes on for two minutes whatever its context says.
func (s *Store) Transact(ctx context.Context, write func(ctx context.Context) error) (clustertime.Time, error) {
	if _, ok := ctx.Deadline(); !ok {
		return 0, ErrNoDeadline
	}
	pauses := pauses()
	for {
		at, committing, err := s.attempt(ctx, write)
		if err != nil && hasLabel(err, labelTransient) && !(committing && commitMayHaveHappened(err)) && sleepFor(ctx, pauses.NextBackOff()) {
			continue
		}
		return outcome(at, committing && commitMayHaveHappened(err), err)
	}
}

// attempt does one transaction, in a session of its own. committing: it has been
// asked to take effect, which no command of a transaction does before.
func (s *Store) attempt(ctx context.Context, write func(ctx context.Context) error) (at *bson.Timestamp, committing bool, err error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return nil, false, s.explain("writing", err)
	}
	defer end(ctx, session)
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

// end ends a session, and aborts its transaction if there is one. What cannot be
// aborted ends by itself, after a minute.
func end(ctx context.Context, session *mongo.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	session.EndSession(ctx)
}

// commit asks until there is an answer, or ctx ends. A transaction can be
// committed any number of times. That it has not happened is believed when the
// server knows of no such transaction, or of none at all: any other error may
// follow, within the driver, a first attempt of which nobody heard.
func commit(ctx context.Context, session *mongo.Session) error {
	pauses := pauses()
	for {
		err := session.CommitTransaction(ctx)
		if err == nil || !commitMayHaveHappened(err) || !sleepFor(ctx, pauses.NextBackOff()) {
			return err
		}
	}
}

func pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, longestPause
	return b
}

// sleepFor reports whether ctx has outlasted a pause.
func sleepFor(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Alone calls write, which does one write at most, in a session of its own
// without a transaction, for servers that have none. Its errors are those of
// Transact.
func (s *Store) Alone(ctx context.Context, write func(ctx context.Context) error) (clustertime.Time, error) {
	return s.inSession(ctx, true, write)
}

// Look is Alone for a call that writes nothing, so that no outcome of it is
// unknown. What it returns is not before what was read; zero: nothing was.
func (s *Store) Look(ctx context.Context, read func(ctx context.Context) error) (clustertime.Time, error) {
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
	defer end(ctx, session)
	err = do(mongo.NewSessionContext(ctx, session))
	if err == nil && session.OperationTime() == nil && !writes {
		return 0, nil
	}
	return outcome(session.OperationTime(), writes && uncertain(err), err)
}

// outcome is what is known after a write. open tells whether it may have taken
// effect although there is an error.
func outcome(at *bson.Timestamp, open bool, err error) (clustertime.Time, error) {
	switch {
	case err != nil && open:
		return 0, &sentence{"it is not known whether the write took effect: look before you try again", ErrOutcomeUnknown, err}
	case err != nil:
		return 0, err
	case at == nil:
		return 0, &sentence{"the write took effect, and the server's acknowledgement has no operationTime, so there is no receipt for it", ErrOutcomeUnknown, nil}
	}
	return clustertime.New(at.T, at.I), nil
}

// commitMayHaveHappened reports whether an error of a commit leaves open what has
// become of it.
func commitMayHaveHappened(err error) bool {
	return err != nil && !hasCode(err, codeNoSuchTransaction, codeIllegalOperation, codeNotInTransaction)
}

// uncertain reports whether an error leaves open what has become of a write. A
// server that answers with an error of its own has not done it, unless it says
// that the majority did not get it in time, or that somebody should ask again:
// then the driver has asked twice, and the first time may have been one too many.
func uncertain(err error) bool {
	return hasLabel(err, labelRetryable) || hasWriteConcernError(err) ||
		mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func hasLabel(err error, label string) bool {
	var labelled mongo.LabeledError
	return errors.As(err, &labelled) && labelled.HasErrorLabel(label)
}

func hasWriteConcernError(err error) bool {
	var write mongo.WriteException
	return errors.As(err, &write) && write.WriteConcernError != nil
}

// HasTransactions asks whether the server has transactions, by a transaction that
// reads. An error means that the question was not answered.
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
