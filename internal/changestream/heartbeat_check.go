package changestream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/keystore"
)

// instanceTTL is when the TTL index removes the document of an instance that stopped without
// deleting it: long after it could have answered from the cache, since max_stale is an hour at
// most.
const instanceTTL = 24 * time.Hour

// Server error codes, from MongoDB's error_codes.yml.
const (
	codeIndexOptionsConflict  = 85
	codeIndexKeySpecsConflict = 86
)

// explainedError is an error with a text for operators that errors.Is can still match.
type explainedError struct {
	text        string
	kind, cause error
}

func (r *explainedError) Error() string   { return r.text + ": " + r.cause.Error() }
func (r *explainedError) Unwrap() []error { return []error{r.kind, r.cause} }

// Prepare checks at the start that the credential may write heartbeats, and creates the index that
// removes the documents of dead instances. If a privilege is missing, the error is
// keystore.ErrUnauthorized and names it. Prepare needs no majority: an instance may start while
// there is none, and waits for it.
func (h *Heartbeater) Prepare(ctx context.Context) error {
	if err := h.createIndex(ctx); err != nil {
		return h.explain(err)
	}
	return h.explain(h.tryWrite(ctx))
}

// tryWrite writes and deletes a document that belongs to no fleet (it has no ns) and that no tail
// receives. An upsert needs the privileges insert and update.
func (h *Heartbeater) tryWrite(ctx context.Context) error {
	beats := h.beats.Clone(options.Collection().SetWriteConcern(writeconcern.W1()))
	id := h.id + "/check"
	_, err := beats.UpdateByID(ctx, id, bson.D{{Key: "$currentDate", Value: bson.D{{Key: fieldAt, Value: true}}}},
		options.UpdateOne().SetUpsert(true))
	if err != nil {
		return err
	}
	_, err = beats.DeleteOne(ctx, bson.D{{Key: fieldID, Value: id}})
	return err
}

// createIndex creates the TTL index, and the collection with it. If they exist, nothing happens.
func (h *Heartbeater) createIndex(ctx context.Context) error {
	_, err := h.beats.Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys:    bson.D{{Key: fieldAt, Value: 1}},
		Options: options.Index().SetExpireAfterSeconds(int32(instanceTTL / time.Second)),
	})
	return err
}

// explain turns the driver's error into one with what to do.
func (h *Heartbeater) explain(err error) error {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		if err != nil {
			err = fmt.Errorf("writing a heartbeat to %s: %w", h.namespace(), err)
		}
		return err
	}
	switch {
	case keystore.NotAllowed(err):
		return &explainedError{fmt.Sprintf("writing heartbeats is not allowed, and they prove that answers from the cache are fresh; there are two ways: grant the user of the connection string find, insert, update, remove and createIndex on collection %q of database %q, or name a database in which it has them on that collection by --stream-scope collection --state-database NAME",
			HeartbeatCollection, h.beats.Database().Name()), keystore.ErrUnauthorized, err}
	case server.HasErrorCode(codeIndexOptionsConflict), server.HasErrorCode(codeIndexKeySpecsConflict):
		return fmt.Errorf("%s has an index on %s with another expiry than keytail's (%v): drop that index, keytail creates it again: %w",
			h.namespace(), fieldAt, instanceTTL, err)
	}
	return fmt.Errorf("writing a heartbeat to %s: %w", h.namespace(), err)
}

func (h *Heartbeater) namespace() string {
	return h.beats.Database().Name() + "." + HeartbeatCollection
}
