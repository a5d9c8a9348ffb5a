package devmongo

import (
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// session is a client session: its last transaction number and, for retryable writes,
// the results of the statements with that number.
type session struct {
	lsid   bson.D
	number int64
	done   map[int]statement // by index in the command
	txn    *txn              // the last transaction, open or ended; nil for none
}

// statement is the recorded result of one retryable write.
type statement struct {
	at     clustertime.Time
	result any
}

// enterSession finds the session, and determines whether the command is a statement of
// a transaction, a retryable write, or neither.
func (o *op) enterSession() error {
	lsid := o.a.document("lsid")
	if o.a.err != nil {
		return o.a.err
	}
	if lsid == nil {
		if !isMissing(field(o.a.doc, "txnNumber")) {
			return refuse(codeInvalidOptions, "Transaction number requires a session ID to also be specified")
		}
		return nil
	}
	if _, ok := field(lsid, "id").(bson.Binary); !ok {
		return refuse(codeTypeMismatch, "lsid.id must be a UUID")
	}
	o.session = o.s.sessionOf(lsid)
	if isMissing(field(o.a.doc, "txnNumber")) {
		if !isMissing(field(o.a.doc, "autocommit")) || !isMissing(field(o.a.doc, "startTransaction")) {
			return refuse(codeInvalidOptions, "autocommit and startTransaction require a txnNumber")
		}
		return nil
	}
	n := o.a.integer("txnNumber", -1)
	if n < o.session.number {
		return refuse(codeTransactionTooOld, "Cannot start transaction %d on a session because a newer transaction %d has already started", n, o.session.number)
	}
	if !isMissing(field(o.a.doc, "autocommit")) {
		return o.enterTxn(n)
	}
	if o.flags&retryable == 0 {
		return refuse(50768, "txnNumber may only be provided for multi-document transactions and retryable write commands. autocommit:false was not provided, and %s is not a retryable write command.", o.name)
	}
	o.session.begin(n)
	o.txnNumber = n
	return o.a.err
}

func (s *Server) sessionOf(lsid bson.D) *session {
	key := canonical(lsid)
	if _, ok := s.sessions[key]; !ok {
		s.sessions[key] = &session{lsid: lsid, number: -1}
	}
	return s.sessions[key]
}

// begin moves to a newer number and drops the results of the old one.
func (s *session) begin(number int64) {
	if number > s.number {
		s.number, s.done, s.txn = number, map[int]statement{}, nil
	}
}

// once runs one statement of a retryable write, or returns its recorded result if it
// has run before. index is the statement's index in the command.
func (o *op) once(index int, run func() (any, error)) (any, error) {
	if o.txnNumber < 0 {
		return run()
	}
	if done, ok := o.session.done[index]; ok {
		return done.result, nil
	}
	result, err := run()
	if err == nil {
		o.session.done[index] = statement{at: o.s.oplog.applied, result: result}
	}
	return result, err
}

// forget removes the results after the time that a rollback returns to.
func (s *session) forget(after clustertime.Time) {
	maps.DeleteFunc(s.done, func(_ int, st statement) bool { return st.at > after })
}

// label adds the error labels by which drivers decide whether to retry.
func (o *op) label(e *Error) *Error {
	switch {
	case o.streaming && slices.Contains(resumableCodes, e.Code):
		return e.withLabel("ResumableChangeStreamError")
	case o.txn != nil && e.Code != codeWriteConflict && e.Code != codeNoSuchTransaction && !slices.Contains(retryableWriteCodes, e.Code):
	case o.txn != nil && o.name == "commitTransaction" && slices.Contains(retryableWriteCodes, e.Code):
		return e.withLabel("RetryableWriteError")
	case o.txn != nil:
		return e.withLabel("TransientTransactionError")
	case o.txnNumber >= 0 && slices.Contains(retryableWriteCodes, e.Code):
		return e.withLabel("RetryableWriteError")
	}
	return e
}

func endSessions(o *op) (bson.D, error) {
	list, ok := o.a.value(o.name).(bson.A)
	if !ok {
		return nil, refuse(codeTypeMismatch, "%s takes an array of sessions", o.name)
	}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	for _, v := range list {
		lsid, ok := v.(bson.D)
		if !ok {
			return nil, refuse(codeTypeMismatch, "%s takes an array of sessions", o.name)
		}
		o.s.endSession(canonical(lsid))
	}
	return okReply(), nil
}

func (s *Server) endSession(key string) {
	delete(s.sessions, key)
	for id, c := range s.cursors {
		if c.session == key {
			s.killCursor(id)
		}
	}
}
