package changestream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
)

// Scope is what the change stream watches.
type Scope string

const (
	// ScopeDatabase watches the keys and the heartbeats, in one stream of their database. The
	// round trip of a heartbeat proves the freshness.
	ScopeDatabase Scope = "database"
	// ScopeCollection watches the keys alone, for a credential that may watch no more. The
	// stream's position in the oplog proves the freshness (DESIGN.md, "Collection scope").
	ScopeCollection Scope = "collection"
)

// ParseScope reads a scope. Empty is ScopeDatabase.
func ParseScope(text string) (Scope, error) {
	switch s := Scope(text); s {
	case "":
		return ScopeDatabase, nil
	case ScopeDatabase, ScopeCollection:
		return s, nil
	}
	return "", fmt.Errorf("%q is not a stream scope: use %s or %s (--stream-scope)", text, ScopeDatabase, ScopeCollection)
}

const (
	// maxCollectionAwait is the longest that a quiet server may hold a getMore in collection
	// scope. Only its answer shows the stream's position, so data can be older by this much than
	// in database scope.
	maxCollectionAwait = 250 * time.Millisecond
	// awaitsPerPart is how many such answers fit into the time after which a stream is given up
	// because a heartbeat has not arrived.
	awaitsPerPart = 2
)

// MaxAwait shortens a MaxAwait for the scope.
func (s Scope) MaxAwait(maxAwait, maxStale time.Duration) time.Duration {
	if s != ScopeCollection {
		return maxAwait
	}
	if maxStale != 0 {
		maxAwait = min(maxAwait, maxStale/(MaxStaleParts*awaitsPerPart))
	}
	return min(maxAwait, maxCollectionAwait)
}

// errTokenLayout rejects a server whose positions in the oplog cannot be compared with the time of
// a heartbeat.
var errTokenLayout = errors.New("the server's resume tokens are not in MongoDB's layout, so a stream of a single collection cannot prove how fresh it is: start with --stream-scope database")

// watcher is a database or a collection.
type watcher interface {
	Watch(ctx context.Context, pipeline any, opts ...options.Lister[options.ChangeStreamOptions]) (*mongo.ChangeStream, error)
}

// target is what the stream watches, on the members that may serve it now.
func (t *Tail) target() watcher {
	db := mongoclient.OnMembers(t.db, t.placement.current())
	if t.config.Scope == ScopeCollection {
		return db.Collection(t.config.Schema.Collection)
	}
	return db
}

// cursorNamespace is the collection part of the namespace of the stream's cursor.
func (c *Config) cursorNamespace() string {
	if c.Scope == ScopeCollection {
		return c.Schema.Collection
	}
	return databaseCursorNamespace
}

// heartbeatID is the _id of the heartbeats to expect in the stream. Empty: there are none in it,
// and a collection of their name holds keys.
func (c *Config) heartbeatID() string {
	if c.Scope == ScopeCollection {
		return ""
	}
	return c.Heartbeater.id
}

// pipeline is the server's part of the filter.
func (c *Config) pipeline() mongo.Pipeline {
	if c.Scope == ScopeCollection {
		return collectionPipeline(&c.Schema)
	}
	return pipeline(&c.Schema, c.Heartbeater.id)
}

// validateScope rejects heartbeats in another database than the stream's, where they would never
// arrive.
func (c *Config) validateScope() error {
	if _, err := ParseScope(string(c.Scope)); err != nil {
		return err
	}
	if c.Scope == ScopeCollection || c.Database == nil || c.Heartbeater == nil {
		return nil
	}
	if state := c.Heartbeater.beats.Database().Name(); state != c.Database.Name() {
		return fmt.Errorf("heartbeats in the database %q never arrive through a stream of the database %q: omit --state-database, or start with --stream-scope collection", state, c.Database.Name())
	}
	return nil
}

// noteEventTime uses what an applied event proves. In collection scope that is everything before
// its time: others of the same time may follow.
func (t *Tail) noteEventTime(e *event, nonce int64) error {
	if t.config.Scope == ScopeCollection {
		return t.positionReached(e.time.Before())
	}
	if nonce != 0 {
		return t.heartbeatReceived(nonce)
	}
	return nil
}

// noteEmptyBatch uses what the token of an empty batch proves: the oplog has been read up to its
// time.
func (t *Tail) noteEmptyBatch(token bson.Raw) error {
	if t.config.Scope != ScopeCollection {
		return nil
	}
	if err := t.checkTokenLayout(token); err != nil {
		return err
	}
	position, _ := tokenTime(token)
	return t.positionReached(position)
}

// checkTokenLayout rejects a token without a readable time, if the scope needs one.
func (t *Tail) checkTokenLayout(token bson.Raw) error {
	if _, ok := tokenTime(token); !ok && t.config.Scope == ScopeCollection {
		return errTokenLayout
	}
	return nil
}

// positionReached counts the newest heartbeat acknowledged at or before position as received:
// everything up to there has been applied.
func (t *Tail) positionReached(position clustertime.Time) error {
	if n := t.config.Heartbeater.tracker.newestCoveredBy(position); n != 0 {
		return t.heartbeatReceived(n)
	}
	return nil
}

// cursorOpened notes that the stream has another cursor, and uses what the one before has proved.
func (t *Tail) cursorOpened() error {
	if n := t.config.Heartbeater.tracker.cursorOpened(); n != 0 {
		return t.heartbeatReceived(n)
	}
	return nil
}

// CheckAccess is Try at the start. It returns an error if an operator has to repair something
// first: a credential that may not watch (keystore.ErrUnauthorized), or a server that does not
// offer such a stream. A transient or unknown error is counted and logged: Run tries again.
func (t *Tail) CheckAccess(ctx context.Context) error {
	err := t.Try(ctx)
	if err == nil {
		return nil
	}
	f, _ := describe(err)
	if f.needsOperator || errors.Is(err, errTokenLayout) {
		return err
	}
	t.metrics.failures.WithLabelValues(phaseOpen, f.code).Inc()
	t.logFailure(phaseOpen, &f, err)
	return nil
}

// Try opens the stream as Run does, and closes it again.
func (t *Tail) Try(ctx context.Context) error {
	changes, err := t.target().Watch(ctx, t.pipeline, options.ChangeStream().SetMaxAwaitTime(t.config.MaxAwait))
	if err != nil {
		return t.explain(t.placement.explain(err))
	}
	defer func() { _ = changes.Close(ctx) }()
	token := changes.ResumeToken()
	if token == nil { // there is an event already
		return nil
	}
	return t.checkTokenLayout(token)
}

// explain returns which privilege is missing.
func (t *Tail) explain(err error) error {
	if f, _ := describe(err); !keystore.NotAllowed(err) {
		if f.needsOperator {
			return fmt.Errorf("the server refuses to open the change stream (%s): %s: %w", f.name, f.advice, err)
		}
		if errors.Is(err, errNoMember) {
			return fmt.Errorf("%s: opening the change stream: %w", f.advice, err)
		}
		return fmt.Errorf("opening the change stream: %w", err)
	}
	database, collection := t.db.Name(), t.config.Schema.Collection
	text := fmt.Sprintf("watching the collection %q of the database %q is not allowed: grant the user of the connection string find and changeStream on it", collection, database)
	if t.config.Scope != ScopeCollection {
		text = fmt.Sprintf("watching the database %q is not allowed: grant the user of the connection string find and changeStream on all of it (the role read has both), or on the collection %q alone and start with --stream-scope collection", database, collection)
	}
	return &explainedError{text, keystore.ErrUnauthorized, err}
}
