package keystore

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/clustertime"
)

// ErrOutcomeUnknown: nobody knows whether the write took effect. It may have, or
// may still.
var ErrOutcomeUnknown = errors.New("it is not known whether the write took effect")

// Transact calls write in a transaction that a majority acknowledges, again as
// long as the server says that it may be tried again and ctx allows, and returns
// the operationTime after its commit: the write's revision. All of write's
// commands take its context.
//
// An error that is not ErrOutcomeUnknown means that nothing has been written.
func (s *Store) Transact(ctx context.Context, write func(ctx context.Context) error) (clustertime.Time, error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return 0, s.explain("writing", err)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	committing := false
	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		committing = false
		err := write(ctx)
		committing = err == nil
		return nil, err
	}, options.Transaction().
		SetReadConcern(readconcern.Snapshot()).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority()))
	return s.outcome(session, committing, err)
}

// Alone calls write, which does one write at most, in a session of its own
// without a transaction, for servers that have none. Its errors are those of
// Transact.
func (s *Store) Alone(ctx context.Context, write func(ctx context.Context) error) (clustertime.Time, error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return 0, s.explain("writing", err)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	err = write(mongo.NewSessionContext(ctx, session))
	return s.outcome(session, true, err)
}

// outcome is what is known after a write. committing tells whether anything was
// sent that takes effect: commands of a transaction do not before its commit.
func (s *Store) outcome(session *mongo.Session, committing bool, err error) (clustertime.Time, error) {
	switch {
	case err != nil && committing && uncertain(err):
		return 0, &sentence{"it is not known whether the write took effect: look before you try again", ErrOutcomeUnknown, err}
	case err != nil && committing:
		return 0, s.explain("committing a write", err)
	case err != nil:
		return 0, err // write has explained it
	}
	at := session.OperationTime()
	if at == nil {
		return 0, &sentence{"the write took effect, and the server's acknowledgement has no operationTime, so there is no receipt for it", ErrOutcomeUnknown, nil}
	}
	return clustertime.New(at.T, at.I), nil
}

// uncertain reports whether an error leaves open what has become of a write. A
// server that answers with an error of its own has not done it, unless it says
// that the majority did not get it in time.
func uncertain(err error) bool {
	var server mongo.ServerError
	if errors.As(err, &server) && (server.HasErrorLabel("UnknownTransactionCommitResult") || hasWriteConcernError(err)) {
		return true
	}
	return mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
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
