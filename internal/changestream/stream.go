package changestream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// databaseCursorNamespace is the collection part of the namespace of a database-level aggregate's
// cursor ("killCursors" in MongoDB's manual).
const databaseCursorNamespace = "$cmd.aggregate"

// stream is one open change stream.
type stream struct {
	changes *mongo.ChangeStream
	session *mongo.Session
	// cursor is the last cursor id seen. The driver forgets it when a deadline ends the stream.
	cursor int64
	// namespace is the collection part of the cursor's namespace.
	namespace string
	db        *mongo.Database
	// preference is that with which the stream was opened.
	preference *readpref.ReadPref
	resumed    bool
	// firstBatchRead is set once the first batch has been read. Until then a read without an event
	// is no request to the server.
	firstBatchRead bool
	// replies counts the answered requests, events the applied events.
	replies, events int
	// driverResumes counts the failed requests in a row after which the driver resumed the stream
	// on its own.
	driverResumes int
	// opened is when the stream was opened, openedAfter the token that it resumes.
	opened      time.Time
	openedAfter bson.Raw
}

// open resumes the stream after the last token, or opens a new one.
func (t *Tail) open(ctx context.Context) (*stream, error) {
	s, err := t.watch(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the change stream: %w", err)
	}
	if err := t.cursorOpened(); err != nil {
		s.close()
		return nil, err
	}
	kind := openedResumed
	if !s.resumed {
		kind = openedNew
		if err := t.openNew(ctx, s); err != nil {
			s.close()
			return nil, err
		}
	}
	t.metrics.opens.WithLabelValues(kind).Inc()
	t.config.Heartbeater.opened()
	return s, nil
}

// watch starts the server's cursor. The batch size keeps its default: with 0 the server fixes its
// position in the oplog only at the first getMore, and silently skips what the oplog has dropped
// by then.
func (t *Tail) watch(ctx context.Context) (*stream, error) {
	if loss := classify(t.config.Heartbeater.tracker.rewoundErr()); loss != nil {
		t.declareLoss(loss)
	}
	if t.token != nil && !isEncodable(t.token) {
		// Every attempt with it would fail, without a reply of the server.
		t.declareLoss(lost(reasonTokenRemoved, errTokenMalformed))
	}
	ctx, cancel := t.requestContext(ctx)
	defer cancel()
	t.firstCursor = t.token == nil
	t.catchUp.attemptStarted()
	if t.token == nil {
		// Without a token the stream begins anew, for any reason, and the changes in between
		// are lost.
		t.declareLoss(lost(reasonNoToken, nil))
	}
	position, _ := tokenTime(t.token)
	t.config.Heartbeater.tracker.startAt(position)
	// An explicit session, so that its cluster time can be read. Sessions cannot be shared: one
	// per stream.
	session, err := t.config.Database.Client().StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return nil, err
	}
	opts := options.ChangeStream().SetMaxAwaitTime(t.config.MaxAwait)
	if !guard.DefaultBatch {
		opts.SetBatchSize(0)
	}
	if t.token != nil {
		opts.SetResumeAfter(t.token)
	}
	changes, err := t.target().Watch(mongo.NewSessionContext(ctx, session), t.pipeline, opts)
	if err != nil {
		session.EndSession(context.Background())
		return nil, t.watchdogErr(ctx, t.placement.explain(err))
	}
	return &stream{
		changes: changes,
		session: session,
		cursor:  changes.ID(),
		db:      t.db,
		resumed: t.token != nil,

		preference: t.placement.current(),

		namespace: t.config.cursorNamespace(),

		opened:      t.config.Now(),
		openedAfter: t.token,
	}, nil
}

// openNew finds the floor of a new stream and opens the cache. It inspects the collection after
// the stream exists: from then on, everything that happens to the collection is an event.
func (t *Tail) openNew(ctx context.Context, s *stream) error {
	ctx, cancel := context.WithTimeout(ctx, t.watchdog)
	defer cancel()
	if err := t.config.Collection.Inspect(ctx); err != nil && guard.InspectAtOpen {
		return err
	}
	if s.changes.RemainingBatchLength() > 0 {
		return t.openNewAtEvent(ctx, s)
	}
	if err := t.checkTokenLayout(s.changes.ResumeToken()); err != nil {
		return err
	}
	floor, err := s.floorOfEmptyBatch()
	if err != nil {
		return err
	}
	t.token = s.changes.ResumeToken()
	t.catchUp.positionReached(floor)
	t.config.Sink.Open(floor)
	t.catchUp.opened()
	return nil
}

// openNewAtEvent takes the floor from the first event of a first batch that is not empty: the
// driver has no token before that.
func (t *Tail) openNewAtEvent(ctx context.Context, s *stream) error {
	if !s.changes.TryNext(ctx) {
		return fmt.Errorf("read the first event: %w", s.changes.Err())
	}
	s.firstBatchRead = true
	e, err := decodeEvent(s.changes.Current)
	if err != nil {
		return lost(reasonUndecodable, err)
	}
	t.config.Sink.Open(e.time.Before())
	t.catchUp.opened()
	return t.apply(s, s.changes.Current)
}

// floorOfEmptyBatch is the floor of a new stream without an event yet. A stream begins after the
// node's last applied write, which a majority read may not see yet. So the floor is one tick
// before the first token's time: for every snapshot at or after it, a change is either in the
// snapshot or delivered by the stream.
func (s *stream) floorOfEmptyBatch() (clustertime.Time, error) {
	if t, ok := tokenTime(s.changes.ResumeToken()); ok {
		return t.Before(), nil
	}
	// Not MongoDB's own layout of tokens. $clusterTime is at or after the last applied write;
	// operationTime would be the committed point, which is too old.
	if t, ok := sessionClusterTime(s.session); ok {
		return t, nil
	}
	return 0, errors.New("the server sends neither a resume token in MongoDB's layout nor a $clusterTime: keytail does not know where its change stream begins")
}

func sessionClusterTime(session *mongo.Session) (clustertime.Time, bool) {
	seconds, increment, ok := session.ClusterTime().Lookup("$clusterTime", "clusterTime").TimestampOK()
	return clustertime.New(seconds, increment), ok
}

// step reads once and applies what came.
func (t *Tail) step(ctx context.Context, s *stream) error {
	if err := t.catchUp.exceededErr(); err != nil {
		return err
	}
	if t.placement.returns(t.config.Now()) {
		t.metrics.moved.Set(0)
		return errMovesBack
	}
	request := s.firstBatchRead && s.changes.RemainingBatchLength() == 0
	driverResumes := s.driverResumes
	got, err := t.read(ctx, s)
	if err != nil {
		return err
	}
	s.firstBatchRead = true
	if request && s.driverResumes == driverResumes {
		s.driverResumes = 0
		s.replies++
		t.watchdog = t.config.Watchdog
	}
	if got {
		if err := t.apply(s, s.changes.Current); err != nil {
			return err
		}
	} else if err := t.applyEmptyBatch(s); err != nil {
		return err
	}
	return t.checkOverdue(s)
}

// read takes the next event. If that needs a request to the server, the request is under the
// watchdog. An event of a batch that has already arrived needs none (DESIGN.md, "The watchdog").
func (t *Tail) read(ctx context.Context, s *stream) (bool, error) {
	if s.changes.RemainingBatchLength() > 0 {
		return t.next(ctx, s)
	}
	ctx, cancel := t.requestContext(ctx)
	defer cancel()
	return t.next(ctx, s)
}

// next takes the next event from the driver. False without an error: the batch was empty.
func (t *Tail) next(ctx context.Context, s *stream) (bool, error) {
	got := s.changes.TryNext(ctx)
	if err := t.config.Heartbeater.tracker.rewoundErr(); err != nil {
		return false, err
	}
	id := s.changes.ID()
	t.firstCursor = t.firstCursor && id == s.cursor
	if id != s.cursor && id != 0 {
		if err := t.noteDriverResume(s, id); err != nil {
			return false, err
		}
	}
	if got && id == 0 && s.cursor != 0 {
		// The server has closed the cursor after this batch. It may be one that the driver has opened on its own, and
		// then nothing else shows that.
		if err := t.cursorOpened(); err != nil {
			return false, err
		}
	}
	if got {
		s.cursor = s.changes.ID()
		return true, nil
	}
	// Err is read before Close, which overwrites it.
	if err := s.changes.Err(); err != nil {
		return false, t.watchdogErr(ctx, err)
	}
	if s.changes.ID() == 0 {
		// The server ended the cursor without an error, as after an invalidate that a filter
		// dropped. Resuming after the token would repeat that forever.
		s.cursor = 0
		return false, lost(reasonCursorEnded, nil)
	}
	s.cursor = s.changes.ID()
	return false, nil
}

// errDriverResumed means that a getMore failed; the driver does not report why.
var errDriverResumed = errors.New("a getMore failed, and the driver resumed the stream on its own")

// noteDriverResume handles a cursor that the driver has opened on its own. The driver does not
// report this, makes no pause, and would go on forever where each getMore fails immediately and each
// aggregate works. So the stream is given up after a few in a row. What was read over the last
// cursor comes again.
func (t *Tail) noteDriverResume(s *stream, cursor int64) error {
	s.cursor = cursor
	s.driverResumes++
	if s.driverResumes > maxDriverResumes {
		return errDriverResumed
	}
	t.handleFailure(phaseGetMore, errDriverResumed)
	if err := t.cursorOpened(); err != nil {
		return err
	}
	if t.config.Scope == ScopeCollection {
		// What was sent before proves nothing. That includes a heartbeat that is sent before cursorOpened.
		t.config.Heartbeater.requestNow()
	}
	return nil
}

// apply applies one event. The token moves only afterwards.
func (t *Tail) apply(s *stream, raw bson.Raw) error {
	e, err := decodeEvent(raw)
	if err != nil {
		return lost(reasonUndecodable, err)
	}
	m, err := t.interpreter.interpret(&e)
	if err != nil {
		return lost(reasonUndecodable, err)
	}
	if m.loss != nil {
		return m.loss
	}
	if m.document != nil && m.document.Record.Defect != "" {
		t.config.Collection.Report(*m.document)
	}
	if m.change != nil {
		t.config.Sink.Apply(m.change)
	}
	t.recordEvent(&e, &m)
	t.advanceToken(s, e.time)
	s.events++
	return t.noteEventTime(&e, m.nonce)
}

// applyEmptyBatch handles a batch without events.
func (t *Tail) applyEmptyBatch(s *stream) error {
	token := s.changes.ResumeToken()
	if token == nil {
		return lost(reasonTokenRemoved, errors.New("the server sent no resume token"))
	}
	seen, _ := tokenTime(token)
	t.advanceToken(s, seen)
	return t.noteEmptyBatch(token)
}

// advanceToken notes where the stream is now.
func (t *Tail) advanceToken(s *stream, seen clustertime.Time) {
	t.token = s.changes.ResumeToken()
	t.newest = max(t.newest, seen)
	t.catchUp.positionReached(t.newest)
}

// close requests the server to close the cursor, as far as possible, and ends the session.
func (s *stream) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	forgotten := s.changes.ID() == 0 && s.cursor != 0
	_ = s.changes.Close(ctx)
	if forgotten {
		// The driver dropped the cursor without telling the server, which would keep it for ten
		// minutes. Of several secondaries, this may reach another one than the stream's.
		_ = s.db.RunCommand(ctx, bson.D{
			{Key: "killCursors", Value: s.namespace},
			{Key: "cursors", Value: bson.A{s.cursor}},
		}, options.RunCmd().SetReadPreference(s.preference)).Err()
	}
	s.session.EndSession(ctx)
}
