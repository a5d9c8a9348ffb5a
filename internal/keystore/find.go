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
)

// ErrNoDeadline says that a read was asked for without a deadline. A replica set that has
// lost its majority would hold it for ever.
var ErrNoDeadline = errors.New("a read of a key needs a deadline")

// ErrRevisionAhead says that until its deadline the server refused to read after a cluster time
// because its own clock had not got there. Either it is idle, or nobody has ever
// been given that time.
var ErrRevisionAhead = errors.New("the cluster time is ahead of the server's")

// FindByHash reads the document with this hash, from a majority-committed
// snapshot of the primary that is no older than after (zero: of any age). That
// is the fill rule of DESIGN.md section 3. False: there is none.
//
// ctx must have a deadline, else ErrNoDeadline. Any error means that nothing is
// known, never that there is no document. A defective document is found like
// any other, and reported.
//
// The unique index, which Prepare demands, is what makes it the only one. The index
// may be dropped later, so two documents are asked for: if there are two, the
// Document is Ambiguous and DISABLED (ambiguous.go).
//
// The document may have no readable hash of its own when the field is an
// array that holds this one, which MongoDB finds too; it has a defect then.
func (s *Store) FindByHash(ctx context.Context, hash apikey.Hash, after clustertime.Time) (Document, bool, error) {
	return s.findByHash(ctx, hash, func(ctx context.Context, filter bson.D) ([]bson.Raw, error) {
		return s.readMajority(ctx, filter, after)
	})
}

// FindByIDs reads those documents with one of these _ids that there are, each by the
// rule of FindByHash, in one find. An id that no document can have is left out, and
// an error if there is no other.
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
	_, err = untilKnown(ctx, func() (bson.Raw, error) {
		cursor, err := s.keys.Find(ctx, filter, options.Find().SetBatchSize(int32(len(ids)+1)))
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
// linearizable: what it finds contains every write that a majority had
// acknowledged before the call, whatever the node that answers believes of
// itself. Without a majority it blocks, which is the truth, until its deadline.
// Otherwise it is like FindByHash.
//
// MongoDB promises this only for a filter that names one document, hence the unique
// index, and only outside a causally consistent session: a server refuses
// linearizable with afterClusterTime. Without the unique index the read is no
// snapshot of several documents together, but every document that had the hash
// from before the read until its end is found, and the server answers only when a
// majority has acknowledged all that was found. So a second document that says no
// is not overlooked, and two that are found are DISABLED whatever each of them says
// (ambiguous.go).
func (s *Store) FindLinearizable(ctx context.Context, hash apikey.Hash) (Document, bool, error) {
	return s.findByHash(ctx, hash, s.readLinearizable)
}

func (s *Store) byHash(hash apikey.Hash) bson.D {
	return bson.D{{Key: s.schema.Hash, Value: s.schema.HashStored(hash)}}
}

// ofHash keeps another key's document from being taken for this one's.
func (s *Store) ofHash(hash apikey.Hash, doc Document) error {
	if doc.HasHash && doc.Hash != hash && !slices.Contains(doc.Others, hash) {
		return refuse(ErrCollation, "looking for a hash in %s found the document of another one: the collection must not have a collation", s.namespace())
	}
	return nil
}

// readRule does one find of at most two documents, by its own rule.
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
		if err := s.ofHash(hash, documents[i]); err != nil {
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

// atMost is how many documents a read by hash asks for: a second one shows that
// there is one, and more than two change nothing.
const atMost = 2

// findFew is Find with a limit. Its documents are those of the server's first
// answer: a find that has reached its limit, or the end of the index, leaves no
// cursor behind. (Documents of more than 16 MB together take another one.)
func findFew(ctx context.Context, keys *mongo.Collection, filter bson.D) ([]bson.Raw, error) {
	limit := int64(atMost)
	if !guard.TwoDocuments {
		limit = 1
	}
	find := options.Find().SetLimit(limit)
	if err := withMaxTime(ctx, find); err != nil {
		return nil, err
	}
	cursor, err := keys.Find(ctx, filter, find)
	if err != nil {
		return nil, err
	}
	var found []bson.Raw
	err = cursor.All(ctx, &found)
	return found, err
}

// withMaxTime tells the server the deadline, as FindOne does and Find does not (the
// driver leaves it out of what returns a cursor): what nobody waits for any more must
// not wait for a majority there.
func withMaxTime(ctx context.Context, find *options.FindOptionsBuilder) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ErrNoDeadline
	}
	left := (time.Until(deadline) + time.Millisecond - 1) / time.Millisecond
	if left <= 0 {
		return context.DeadlineExceeded
	}
	return xoptions.SetInternalFindOptions(find, "addCommandFields", bson.D{{Key: "maxTimeMS", Value: min(int64(left), math.MaxInt32)}})
}

// readLinearizable does one find in a plain session of its own: one that ctx
// may carry (of a program that embeds keytail) could be a causally consistent
// one, or a transaction.
func (s *Store) readLinearizable(ctx context.Context, filter bson.D) ([]bson.Raw, error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return nil, err
	}
	defer session.EndSession(ctx)
	return findFew(mongo.NewSessionContext(ctx, session), s.linearizable, filter)
}

// sessionAfter is a causally consistent session whose time has been set to after:
// then the driver adds afterClusterTime to the read concern of the collection. (It
// sends none in an implicit session.)
func (s *Store) sessionAfter(after clustertime.Time) (*mongo.Session, error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(true))
	if err != nil || !guard.AfterClusterTime || after == 0 {
		return session, err
	}
	// The session keeps the pointer, so it is not one into anything shared
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
	_, err = untilKnown(ctx, func() (_ bson.Raw, err error) {
		found, err = findFew(ctx, s.keys, filter)
		return nil, err
	})
	return found, err
}

// codeInvalidOptions is how a server refuses to wait for a cluster time that is
// ahead of its own.
const codeInvalidOptions = 72

// An idle server's clock moves with its periodic no-op, or with the next write
// of anybody, a heartbeat most likely: it is asked often at first and a few
// times a second later.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = 200 * time.Millisecond
)

// untilKnown repeats a read that is refused with InvalidOptions, until ctx ends.
// A floor is one tick ahead of an idle server, so that refusal is not a mistake.
// It returns ErrAhead and the refusal along with the deadline's error then.
func untilKnown(ctx context.Context, read func() (bson.Raw, error)) (bson.Raw, error) {
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
		return nil, fmt.Errorf("%w: %w; until then the server had said: %w", ErrRevisionAhead, err, refusal)
	}
	return raw, err
}
