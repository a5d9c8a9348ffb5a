package keystore

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/mongoclient"
)

// batchTimeout is the deadline of one batch of a scan: if a server does not
// answer in this time, the connection counts as lost, and the scan starts over.
const batchTimeout = 30 * time.Second

// scanStartTimeout is how long a scan may wait for a secondary that is behind. It
// is less than the ten seconds for which the scan waits for the stream at its end
// (package preload).
const scanStartTimeout = 5 * time.Second

// Count returns the number of documents from the collection's metadata: fast,
// but wrong after a crash or on a sharded cluster. Use it only for sizing.
func (s *Store) Count(ctx context.Context) (int64, error) {
	n, err := s.keys.EstimatedDocumentCount(ctx)
	if err != nil {
		return 0, s.explain("counting the keys", err)
	}
	return n, nil
}

// Scan reads every document once by the rule of FindByHash, except that
// Config.ReadPreference says on which member, and calls see for each, on the caller's
// goroutine, until see returns an error, which Scan returns. A document is valid until
// see returns; its texts stay valid, but what keeps one of them keeps those of some
// hundred documents. Scan logs defective documents in one line when it ends, with their
// number and some of their _ids.
//
// Scan uses one cursor that is sorted by _id. Ranges of _id would not work:
// MongoDB compares within one BSON type, so ranges skip ids of other types. A
// cursor is not a snapshot, but it returns every document that exists, with the
// same _id, from the beginning of the cursor to its end.
//
// The cursor has no projection: the server would have to build new documents, to
// leave out the few fields that keytail does not read, and could hide a field that
// occurs twice.
func (s *Store) Scan(ctx context.Context, after clustertime.Time, see func(*Document) error) error {
	session, err := s.sessionAfter(after)
	if err != nil {
		return s.explain("scanning the keys", err)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	cursor, moved, err := s.openScan(mongo.NewSessionContext(ctx, session))
	if err != nil {
		return s.explain("scanning the keys", err)
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	var defects scanDefects
	defer s.logScan(&defects)
	readErr, err := s.readAll(ctx, cursor, func(document *Document) error {
		if document.Record.Defect != "" {
			s.count()
		}
		defects.see(document)
		return see(document)
	})
	if readErr != nil {
		s.scanFailed.Store(s.backgroundIsMovable && !moved && ctx.Err() == nil)
		return s.explain("scanning the keys", readErr)
	}
	if err == nil {
		s.lastScan.Store(defects.result(s.now()))
	}
	return err
}

// findSortedByID uses the index on _id, which every collection has. The hint
// prevents a server from reading and sorting everything before its first reply.
func findSortedByID(order int) *options.FindOptionsBuilder {
	return options.Find().SetSort(bson.D{{Key: idField, Value: order}}).SetHint(bson.D{{Key: idField, Value: 1}})
}

// openScan opens the cursor of a scan. A secondary that is behind answers when it has reached
// the scan's cluster time; if that takes too long, the scan is on the primary (moved). So is the
// one that follows a scan whose cursor has failed: the driver may choose the same member again.
func (s *Store) openScan(ctx context.Context) (cursor *mongo.Cursor, moved bool, err error) {
	if !s.backgroundIsMovable {
		cursor, err = openScanOf(ctx, s.background, batchTimeout)
		return cursor, false, err
	}
	if s.scanFailed.Swap(false) {
		s.logger.Warn("the last scan of the keys failed on a member that --read-preference allows, so this one reads from the primary")
	} else {
		cursor, err = openScanOf(ctx, s.background, s.scanStart)
		if err == nil || ctx.Err() != nil {
			return cursor, false, err
		}
		s.logger.Warn("the scan of the keys could not begin on the members that --read-preference allows, so it reads from the primary", zap.Error(err))
	}
	cursor, err = openScanOf(ctx, s.keys, batchTimeout)
	return cursor, true, err
}

func openScanOf(ctx context.Context, keys *mongo.Collection, limit time.Duration) (*mongo.Cursor, error) {
	// Cancelled by a timer and not by a deadline: from a deadline the driver
	// makes a maxTimeMS, which the server applies to all batches of the cursor
	// together.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(limit, cancel)
	defer timer.Stop()
	var cursor *mongo.Cursor
	_, err := retryWhileAhead(ctx, func() (_ bson.Raw, err error) {
		cursor, err = keys.Find(ctx, bson.D{}, mongoclient.WithComment(ctx, findSortedByID(1)))
		return nil, err
	})
	return cursor, err
}

// nextDocument moves the cursor to the next document. Only a request to the
// server needs a deadline.
func nextDocument(ctx context.Context, cursor *mongo.Cursor) (bool, error) {
	if cursor.RemainingBatchLength() == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, batchTimeout)
		defer cancel()
	}
	if cursor.Next(ctx) {
		return true, nil
	}
	if err := cursor.Err(); err != nil {
		return false, fmt.Errorf("the cursor failed: %w", err)
	}
	return false, nil
}
