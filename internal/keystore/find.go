package keystore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/xoptions"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/mongoclient"
)

// ErrNoDeadline means that a read was called without a deadline. A replica set
// that has lost its majority would block it forever.
var ErrNoDeadline = errors.New("a read of a key needs a deadline")

// ErrRevisionAhead means that the server, until the deadline, refused to read
// after a cluster time because its own clock had not reached that time. Either
// the server is idle, or no client was ever given that time.
var ErrRevisionAhead = errors.New("the cluster time is ahead of the server's")

// FindByHash reads the document with this hash, from a majority-committed
// snapshot of the primary that is not older than after (zero: of any age). This
// is the rule for fills, see internal/keycache/DESIGN.md. False: there is no
// such document.
//
// ctx must have a deadline, else the error is ErrNoDeadline. An error always
// means that the result is unknown, never that there is no document. FindByHash
// returns a defective document like any other, and reports it.
//
// The unique index, which Prepare requires, ensures that there is only one
// document. The index may be dropped later, so the read requests two documents:
// if there are two, the Document is Ambiguous and DISABLED (ambiguous.go).
//
// The document may have no readable hash if its hash field is an array that
// contains this one, which MongoDB finds, too. Such a document has a defect.
func (s *Store) FindByHash(ctx context.Context, hash apikey.Hash, after clustertime.Time) (Document, bool, error) {
	return s.findByHash(ctx, hash, func(ctx context.Context, filter bson.D) ([]bson.Raw, error) {
		return s.readMajority(ctx, filter, after)
	})
}

// FindByIDs reads the documents with these _ids in one find, each by the rule
// of FindByHash except that Config.ReadPreference says on which member. It returns those that exist. It leaves out an id that no
// document can have, and returns an error if all ids are of that kind.
func (s *Store) FindByIDs(ctx context.Context, ids []apikey.DocID, after clustertime.Time) ([]Document, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, ErrNoDeadline
	}
	filter, err := byIDs(ids)
	if err != nil {
		return nil, err
	}
	session, err := s.sessionAfter(after)
	if err != nil {
		return nil, err
	}
	defer session.EndSession(ctx)
	ctx = mongo.NewSessionContext(ctx, session)
	var all []bson.Raw
	_, err = retryWhileAhead(ctx, func() (bson.Raw, error) {
		cursor, err := s.background.Find(ctx, filter, mongoclient.WithComment(ctx, options.Find().SetBatchSize(int32(len(ids)+1))))
		if err != nil {
			return nil, err
		}
		return nil, cursor.All(ctx, &all)
	})
	if err != nil {
		return nil, s.explain("reading keys", err)
	}
	documents := make([]Document, len(all))
	for i, raw := range all {
		documents[i] = s.schema.Decode(raw)
		s.Report(documents[i])
	}
	return documents, nil
}

func byIDs(ids []apikey.DocID) (bson.D, error) {
	values := make(bson.A, 0, len(ids))
	var mistake error
	for _, id := range ids {
		value, err := idValue(id)
		if err != nil {
			mistake = err
			continue
		}
		values = append(values, value)
	}
	if len(values) == 0 {
		return nil, mistake
	}
	return bson.D{{Key: idField, Value: bson.D{{Key: "$in", Value: values}}}}, nil
}

// FindLinearizable reads the document with this hash with read concern
// linearizable: the result contains every write that a majority had
// acknowledged before the call, even if the node that answers wrongly takes
// itself for the primary. Without a majority the read blocks until its
// deadline, because there is no correct answer. Otherwise it is like
// FindByHash.
//
// MongoDB guarantees this only for a filter that identifies one document, hence
// the unique index, and only outside a causally consistent session: a server
// rejects linearizable together with afterClusterTime. Without the unique index
// the read is not one snapshot of several documents. But it finds every
// document that had the hash from before the read until its end, and the server
// answers only when a majority has acknowledged everything that was found. So
// the read does not miss a second document that is revoked, and if it finds
// two, the key is DISABLED regardless of their contents (ambiguous.go).
func (s *Store) FindLinearizable(ctx context.Context, hash apikey.Hash) (Document, bool, error) {
	return s.findByHash(ctx, hash, s.readLinearizable)
}

func (s *Store) byHash(hash apikey.Hash) bson.D {
	return bson.D{{Key: s.schema.Hash, Value: s.schema.HashStored(hash)}}
}

// checkHash returns an error if a find returned the document of another key.
func (s *Store) checkHash(hash apikey.Hash, doc Document) error {
	if doc.HasHash && doc.Hash != hash && !slices.Contains(doc.OtherHashes, hash) {
		return explained(ErrCollation, "a lookup in %s found the document of another hash: the collection must not have a collation", s.Namespace())
	}
	return nil
}

// readRule is a find of at most two documents, by one of the rules below.
type readRule func(ctx context.Context, filter bson.D) ([]bson.Raw, error)

func (s *Store) findByHash(ctx context.Context, hash apikey.Hash, read readRule) (Document, bool, error) {
	if _, ok := ctx.Deadline(); !ok {
		return Document{}, false, ErrNoDeadline
	}
	found, err := read(ctx, s.byHash(hash))
	if err != nil {
		return Document{}, false, s.explain("reading a key", err)
	}
	documents := make([]Document, len(found))
	for i, raw := range found {
		documents[i] = s.schema.Decode(raw)
		if err := s.checkHash(hash, documents[i]); err != nil {
			return Document{}, false, err
		}
		s.Report(documents[i])
	}
	switch len(documents) {
	case 0:
		return Document{}, false, nil
	case 1:
		return documents[0], true, nil
	default:
		return s.ambiguous(documents), true, nil
	}
}

// readLimit is how many documents a read by hash requests: a second one shows
// that the hash is not unique, and more than two change nothing.
const readLimit = 2

// findLimited is Find with a limit. All documents are in the server's first
// reply: a find that has reached its limit, or the end of the index, leaves no
// open cursor. (Documents of more than 16 MB together take another reply.)
func findLimited(ctx context.Context, keys *mongo.Collection, filter bson.D) ([]bson.Raw, error) {
	limit := int64(readLimit)
	if !guard.TwoDocuments {
		limit = 1
	}
	find := options.Find().SetLimit(limit)
	if err := withMaxTime(ctx, find); err != nil {
		return nil, err
	}
	cursor, err := keys.Find(ctx, filter, mongoclient.WithComment(ctx, find))
	if err != nil {
		return nil, err
	}
	var found []bson.Raw
	err = cursor.All(ctx, &found)
	return found, err
}

// withMaxTime sends the deadline to the server, as FindOne does and Find does
// not (the driver leaves it out of commands that return a cursor): a read whose
// caller has gone must not wait for a majority on the server.
func withMaxTime(ctx context.Context, find *options.FindOptionsBuilder) error {
	return withMaxTimeOf(ctx, find, 1)
}

// withMaxTimeOf sends this share of the time that is left.
func withMaxTimeOf(ctx context.Context, find *options.FindOptionsBuilder, share float64) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ErrNoDeadline
	}
	left := (time.Duration(float64(time.Until(deadline))*share) + time.Millisecond - 1) / time.Millisecond
	if left <= 0 {
		return context.DeadlineExceeded
	}
	return xoptions.SetInternalFindOptions(find, "addCommandFields", bson.D{{Key: "maxTimeMS", Value: min(int64(left), math.MaxInt32)}})
}

// readLinearizable does one find in its own plain session: a session in ctx (of
// a program that embeds keytail) could be causally consistent, or have a
// transaction.
func (s *Store) readLinearizable(ctx context.Context, filter bson.D) ([]bson.Raw, error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return nil, err
	}
	defer session.EndSession(ctx)
	return findLimited(mongo.NewSessionContext(ctx, session), s.linearizable, filter)
}

// sessionAfter returns a causally consistent session whose operation time is
// after: then the driver adds afterClusterTime to the collection's read
// concern. (It sends none in an implicit session.)
func (s *Store) sessionAfter(after clustertime.Time) (*mongo.Session, error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(true))
	if err != nil || !guard.AfterClusterTime || after == 0 {
		return session, err
	}
	// The session keeps the pointer, so it must not point to anything shared
	t := bson.Timestamp{T: after.Seconds(), I: after.Increment()}
	if err := session.AdvanceOperationTime(&t); err != nil {
		session.EndSession(context.Background())
		return nil, err
	}
	return session, nil
}

// readMajority does one find that is not older than after.
func (s *Store) readMajority(ctx context.Context, filter bson.D, after clustertime.Time) ([]bson.Raw, error) {
	session, err := s.sessionAfter(after)
	if err != nil {
		return nil, err
	}
	defer session.EndSession(ctx)
	ctx = mongo.NewSessionContext(ctx, session)
	var found []bson.Raw
	_, err = retryWhileAhead(ctx, func() (_ bson.Raw, err error) {
		found, err = findLimited(ctx, s.keys, filter)
		return nil, err
	})
	return found, err
}

// codeInvalidOptions is the server's error for a read after a cluster time that
// is ahead of its own cluster time.
const codeInvalidOptions = 72

// An idle server's clock advances with its periodic no-op, or with the next
// write of any client, most likely a heartbeat. So the retries are frequent at
// first and a few per second later.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = 200 * time.Millisecond
)

// retryWhileAhead repeats a read while the server refuses it with
// InvalidOptions, until ctx ends. A floor is one tick ahead of an idle server,
// so that refusal is not a mistake. When ctx ends, it returns ErrRevisionAhead
// together with the refusal and the deadline's error.
func retryWhileAhead(ctx context.Context, read func() (bson.Raw, error)) (bson.Raw, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstPause, longestPause
	var refusal error
	raw, err := backoff.Retry(ctx, func() (bson.Raw, error) {
		raw, err := read()
		if err == nil {
			return raw, nil
		}
		if !hasCode(err, codeInvalidOptions) {
			return nil, backoff.Permanent(err)
		}
		refusal = err
		return nil, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	if err != nil && refusal != nil && !errors.Is(err, refusal) && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w; the server's last refusal: %w", ErrRevisionAhead, err, refusal)
	}
	return raw, err
}
