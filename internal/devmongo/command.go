package devmongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// The properties of a command.
const (
	reads      = 1 << iota // accepts a readConcern
	writes                 // accepts a writeConcern and needs a primary
	retryable              // accepts a txnNumber outside transactions
	inTxn                  // may run in a transaction
	adminOnly              // runs only in the database admin
	handshake              // runs without a session and without concerns
	ownMaxTime             // its handler reads maxTimeMS
)

// command is one entry of the table in command_table.go.
type command struct {
	flags int
	run   func(*op) (bson.D, error)
}

// op is one running command. Its handler runs with the server's lock held.
type op struct {
	s       *Server
	c       *conn
	ctx     context.Context
	name    string
	db      string
	flags   int
	a       *args
	read    readConcern
	write   writeConcern
	session *session // nil without lsid
	txn     *txn     // nil outside transactions
	// txnNumber is the number of a retryable write, negative for none.
	txnNumber int64
	// view is the data that reads see; operationTime is returned with the reply.
	view          *catalog
	operationTime clustertime.Time
	concernError  bson.D // a writeConcernError that a failpoint injects
	streaming     bool   // the error ends a change stream
	unlabelled    bool   // a failpoint has set the labels of its error
}

// execute runs a command and returns its reply. After an error the connection must be
// closed.
func (s *Server) execute(ctx context.Context, c *conn, req *request) (bson.D, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Observe != nil {
		s.cfg.Observe(req.body)
	}
	o := &op{s: s, c: c, ctx: ctx, name: req.body[0].Key, a: newArgs(req.body[0].Key, req.body), txnNumber: -1}
	reply, err := o.run(req.legacy)
	if c.replaced {
		return nil, errHangUp
	}
	if err == errHangUp { //nolint:errorlint // it is never wrapped
		return nil, err
	}
	if err != nil {
		reply = o.fail(err)
	}
	return o.addClusterTimes(reply), nil
}

// fail returns the reply to a command that failed.
func (o *op) fail(err error) bson.D {
	if o.txn != nil {
		o.txn.abortOn(err)
	}
	if e := asError(err); o.unlabelled {
		return e.reply()
	}
	return o.label(asError(err)).reply()
}

func (o *op) run(legacy bool) (bson.D, error) {
	cmd, ok := commandNamed(o.name)
	if !ok {
		return nil, unsupported(codeCommandNotFound, "no such command: '%s'", o.name)
	}
	if err := o.checkProcess(); err != nil {
		return nil, err
	}
	o.flags = cmd.flags
	if err := o.readGeneric(legacy); err != nil {
		return nil, err
	}
	if err := o.failPoint(); err != nil {
		return nil, err
	}
	if o.flags&handshake != 0 {
		return cmd.run(o)
	}
	ctx, cancel, err := o.deadline()
	if err != nil {
		return nil, err
	}
	defer cancel()
	o.ctx = ctx
	return o.runConcerned(cmd)
}

// runConcerned runs the command between its read concern and its write concern.
func (o *op) runConcerned(cmd *command) (bson.D, error) {
	if err := o.enterSession(); err != nil {
		return nil, err
	}
	if err := o.waitForRead(); err != nil {
		return nil, err
	}
	if err := o.checkProcess(); err != nil {
		return nil, err
	}
	reply, err := cmd.run(o)
	if err != nil {
		return nil, err
	}
	if o.operationTime == 0 {
		o.operationTime = o.s.oplog.applied
		if o.read.level == levelMajority {
			o.operationTime = o.s.oplog.majority
		}
	}
	if err := o.waitForLinear(); err != nil {
		return nil, err
	}
	return o.waitForWrite(reply)
}

// readGeneric reads the fields that every command may have.
func (o *op) readGeneric(legacy bool) error {
	o.a.accept(o.name, "lsid", "txnNumber", "autocommit", "startTransaction", "$clusterTime", "$readPreference", "comment")
	o.db = o.a.str("$db")
	if legacy {
		o.db = "admin"
	}
	if o.db == "" && o.a.err == nil {
		return refuse(40571, "OP_MSG requests require a $db argument")
	}
	if o.flags&adminOnly != 0 && o.db != "admin" {
		return refuse(13, "%s may only be run against the admin database.", o.name)
	}
	if err := o.readConcerns(); err != nil {
		return err
	}
	if err := o.advanceClock(); err != nil {
		return err
	}
	return o.a.err
}

// advanceClock advances the cluster time to the one that the client sends, as MongoDB
// does.
func (o *op) advanceClock() error {
	gossip, ok := field(o.a.doc, "$clusterTime").(bson.D)
	if !ok {
		return nil
	}
	ts, ok := field(gossip, "clusterTime").(bson.Timestamp)
	if !ok {
		return refuse(codeTypeMismatch, "$clusterTime.clusterTime must be a timestamp")
	}
	at := clustertime.New(ts.T, ts.I)
	const maxDrift = 365 * 24 * 3600 // maxAcceptableLogicalClockDriftSecs, one year
	if int64(ts.T) > o.s.wallNow().Unix()+maxDrift {
		return refuse(codeRateLimiter, "New cluster time, %d, is too far from this node's wall clock time", ts.T)
	}
	o.s.oplog.clock = max(o.s.oplog.clock, at)
	return nil
}

// deadline returns the command's context with maxTimeMS as a timeout.
func (o *op) deadline() (context.Context, context.CancelFunc, error) {
	if o.flags&ownMaxTime != 0 {
		return o.ctx, func() {}, nil
	}
	ms := o.a.integer("maxTimeMS", 0)
	if ms < 0 || ms > 1<<31-1 {
		return nil, nil, refuse(codeBadValue, "%d value for maxTimeMS is out of range [0, 2147483647]", ms)
	}
	if ms == 0 {
		return o.ctx, func() {}, o.a.err
	}
	ctx, cancel := context.WithTimeoutCause(o.ctx, time.Duration(ms)*time.Millisecond, errTimeout)
	return ctx, cancel, o.a.err
}

// addClusterTimes adds the cluster time and the operation time to a reply.
func (o *op) addClusterTimes(reply bson.D) bson.D {
	if o.operationTime == 0 {
		o.operationTime = o.s.oplog.applied
	}
	signature := bson.D{{Key: "hash", Value: bson.Binary{Data: make([]byte, 20)}}, {Key: "keyId", Value: int64(0)}}
	return append(reply,
		bson.E{Key: "$clusterTime", Value: bson.D{{Key: "clusterTime", Value: timestamp(o.s.oplog.clock)}, {Key: "signature", Value: signature}}},
		bson.E{Key: "operationTime", Value: timestamp(o.operationTime)})
}

func timestamp(t clustertime.Time) bson.Timestamp {
	return bson.Timestamp{T: t.Seconds(), I: t.Increment()}
}

// record appends entries to the log and wakes all waiters.
func (s *Server) record(entries ...*logEntry) clustertime.Time {
	at := s.oplog.add(s.wallNow(), entries...)
	s.keepState()
	s.notify()
	return at
}

// target returns the collection that the command's first field names.
func (o *op) target() (namespace, error) {
	name, ok := o.a.value(o.name).(string)
	if !ok {
		return namespace{}, refuse(codeInvalidNamespace, "collection name has invalid type %s", typeName(o.a.value(o.name)))
	}
	return checkNamespace(o.db, name)
}
