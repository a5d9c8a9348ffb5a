package keystore

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/clustertime"
)

// batchTimeout bounds one batch of a scan: a server that does not answer for so
// long has been lost, and the scan starts over.
const batchTimeout = 30 * time.Second

// Count is the number of documents by the collection's metadata: quick, and
// wrong after a crash or on a sharded cluster. For sizing only.
func (s *Store) Count(ctx context.Context) (int64, error) {
	n, err := s.keys.EstimatedDocumentCount(ctx)
	if err != nil {
		return 0, s.explain("counting the keys", err)
	}
	return n, nil
}

// Scan reads every document once by the rule of FindByHash, and calls see for
// each, until see returns an error, which Scan returns.
//
// One cursor sorted by _id is the whole of it. Ranges of _id would not do:
// comparison is within one BSON type, so they skip ids of other types. A cursor
// is not a snapshot, but it sees every document that is there, and under the
// same _id, from its beginning to its end.
func (s *Store) Scan(ctx context.Context, after clustertime.Time, see func(Document) error) error {
	session, err := s.sessionAfter(after)
	if err != nil {
		return s.explain("scanning the keys", err)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	cursor, err := s.openScan(mongo.NewSessionContext(ctx, session))
	if err != nil {
		return s.explain("scanning the keys", err)
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for {
		more, err := nextOf(ctx, cursor)
		if err != nil {
			return s.explain("scanning the keys", err)
		}
		if !more {
			return nil
		}
		document := s.schema.Decode(cursor.Current)
		s.Report(document)
		if err := see(document); err != nil {
			return err
		}
	}
}

// byID walks the index on _id, which every collection has. The hint keeps a server
// from reading and sorting everything before its first answer.
func byID(order int) *options.FindOptionsBuilder {
	return options.Find().SetSort(bson.D{{Key: idField, Value: order}}).SetHint(bson.D{{Key: idField, Value: 1}})
}

func (s *Store) openScan(ctx context.Context) (*mongo.Cursor, error) {
	// Cancelled by a timer and not by a deadline: of a deadline the driver makes
	// a maxTimeMS, which the server holds against all of the cursor.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(batchTimeout, cancel)
	defer timer.Stop()
	var cursor *mongo.Cursor
	_, err := untilKnown(ctx, func() (_ bson.Raw, err error) {
		cursor, err = s.keys.Find(ctx, bson.D{}, byID(1))
		return nil, err
	})
	return cursor, err
}

// nextOf moves the cursor on. Only a request to the server needs a deadline.
func nextOf(ctx context.Context, cursor *mongo.Cursor) (bool, error) {
	if cursor.RemainingBatchLength() == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, batchTimeout)
		defer cancel()
	}
	if cursor.Next(ctx) {
		return true, nil
	}
	if err := cursor.Err(); err != nil {
		return false, fmt.Errorf("the cursor died: %w", err)
	}
	return false, nil
}
