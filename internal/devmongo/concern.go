package devmongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// The levels of a read concern. "available" is local here, as on any replica set.
const (
	levelLocal        = "local"
	levelAvailable    = "available"
	levelMajority     = "majority"
	levelLinearizable = "linearizable"
	levelSnapshot     = "snapshot"
)

type readConcern struct {
	level string
	after clustertime.Time // zero: none
}

// writeConcern says how long a write is waited for. MongoDB's default is a majority,
// for ever.
type writeConcern struct {
	majority bool
	unknown  bool // a named mode that does not exist
	nodes    int64
	timeout  time.Duration
	given    bson.D
}

// readConcerns takes both concerns and refuses them where they do not belong.
func (o *op) readConcerns() error {
	given := o.a.document("readConcern")
	if given != nil && o.flags&reads == 0 && isMissing(field(o.a.doc, "startTransaction")) && len(given) > 0 {
		return refuse(codeInvalidOptions, "Command %s does not support { readConcern }", o.name)
	}
	a := newArgs("readConcern", given)
	o.read.level = a.str("level")
	if ts, ok := a.value("afterClusterTime").(bson.Timestamp); ok {
		o.read.after = clustertime.New(ts.T, ts.I)
	} else if !isMissing(a.value("afterClusterTime")) {
		return refuse(codeTypeMismatch, "readConcern.afterClusterTime must be a timestamp")
	}
	a.accept("provenance")
	if err := a.finish(); err != nil {
		return err
	}
	if err := o.checkLevel(); err != nil {
		return err
	}
	return o.readWriteConcern()
}

func (o *op) checkLevel() error {
	switch o.read.level {
	case "", levelAvailable:
		o.read.level = levelLocal
	case levelLocal, levelMajority:
	case levelLinearizable:
		if o.read.after != 0 {
			return refuse(codeInvalidOptions, "afterClusterTime field can be set only if level is equal to majority, local, or snapshot")
		}
	case levelSnapshot:
		if isMissing(field(o.a.doc, "startTransaction")) {
			return refuse(codeInvalidOptions, "devmongo has no readConcern level snapshot outside transactions")
		}
		o.read.level = levelMajority
	default:
		return refuse(codeFailedToParse, "readConcern.level must be either 'local', 'majority', 'linearizable', 'available', or 'snapshot'")
	}
	return nil
}

func (o *op) readWriteConcern() error {
	given := o.a.document("writeConcern")
	o.write = writeConcern{majority: true, nodes: 1, given: given}
	if given == nil {
		o.write.majority = !o.s.cfg.Release44
		return nil
	}
	if o.flags&writes == 0 {
		return refuse(codeInvalidOptions, "Command %s does not support writeConcern", o.name)
	}
	a := newArgs("writeConcern", given)
	switch w := a.value("w").(type) {
	case missing:
	case string:
		o.write.unknown = w != "majority"
	default:
		n, ok := number(w)
		if !ok || n < 0 || n > 50 {
			return refuse(codeFailedToParse, "w has to be a number between 0 and 50, or a string")
		}
		o.write.majority, o.write.nodes = false, n
	}
	o.write.timeout = time.Duration(a.integer("wtimeout", 0)) * time.Millisecond
	a.boolean("j")
	a.boolean("fsync")
	a.accept("provenance")
	return a.finish()
}

// waitForRead waits until the node has what the client has seen, and picks the
// view that the read concern asks for.
func (o *op) waitForRead() error {
	log := &o.s.oplog
	if o.read.after > log.clock {
		return refuse(codeInvalidOptions, "readConcern afterClusterTime value must not be greater than the current clusterTime. Requested clusterTime: %s; current clusterTime: %s", o.read.after, log.clock)
	}
	if o.read.after > log.applied && o.s.steppedDown == nil {
		o.s.record(&logEntry{kind: kindNoop}) // a primary moves its own log instead of waiting for a write
	}
	err := o.s.await(o.ctx, func() bool {
		return log.applied >= o.read.after && (o.read.level != levelMajority || log.majority >= o.read.after)
	})
	if err != nil {
		return err
	}
	o.view = o.s.applied
	if o.read.level == levelMajority {
		o.view = o.s.majority
		if o.s.behind != nil && o.name == "find" && o.read.after <= o.s.behindAt {
			o.view, o.operationTime = o.s.behind, o.s.behindAt
		}
	}
	return nil
}

// waitForLinear proves, as MongoDB does, that the node was still primary after
// the read: by a no-op that a majority must have.
func (o *op) waitForLinear() error {
	if o.read.level != levelLinearizable {
		return nil
	}
	if o.s.steppedDown != nil {
		return errNotPrimary()
	}
	at, term := o.s.record(&logEntry{kind: kindNoop}), o.s.term
	if err := o.s.await(o.ctx, func() bool { return o.s.oplog.majority >= at || o.s.term != term }); err != nil {
		return err
	}
	if o.s.term != term {
		return errNotPrimary()
	}
	o.operationTime = at
	return nil
}

// waitForWrite waits for the write concern and, when that fails, adds what
// MongoDB adds to the reply of a write that has nevertheless been done.
func (o *op) waitForWrite(reply bson.D, before clustertime.Time) (bson.D, error) {
	if o.concernError != nil {
		return append(reply, bson.E{Key: "writeConcernError", Value: o.concernError}), nil
	}
	if o.flags&writes == 0 || o.txn != nil {
		return reply, nil
	}
	info := bson.D{{Key: "writeConcern", Value: o.write.given}}
	if o.write.nodes > 1 {
		return withConcernError(reply, codeUnsatisfiableConcern, "Not enough data-bearing nodes", info), nil
	}
	if o.write.unknown {
		return withConcernError(reply, 79, "No write concern mode with that name found in replica set configuration", info), nil
	}
	if o.write.majority {
		return o.waitForMajority(reply, before)
	}
	return reply, nil
}

func (o *op) waitForMajority(reply bson.D, _ clustertime.Time) (bson.D, error) {
	ctx, cancel := o.ctx, context.CancelFunc(func() {})
	if o.write.timeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, o.write.timeout, errWriteTimeout)
	}
	defer cancel()
	at, term := o.operationTime, o.s.term
	err := o.s.await(ctx, func() bool { return o.s.oplog.majority >= at || o.s.term != term })
	if err == nil && o.s.term != term {
		err = refuse(codeInterruptedByStepDown, "the node has stepped down while it waited for the write concern")
	}
	if err == nil {
		return reply, nil
	}
	e := asError(err)
	var info bson.D
	if e == errWriteTimeout {
		info = bson.D{{Key: "wtimeout", Value: true}, {Key: "writeConcern", Value: o.write.given}}
	}
	return withConcernError(reply, e.Code, e.Message, info), nil
}

var errWriteTimeout = refuse(codeWriteConcernTimeout, "waiting for replication timed out")

func withConcernError(reply bson.D, code int32, message string, info bson.D) bson.D {
	d := bson.D{{Key: "code", Value: code}, {Key: "codeName", Value: codeName(code)}, {Key: "errmsg", Value: message}}
	if info != nil {
		d = append(d, bson.E{Key: "errInfo", Value: info})
	}
	return append(reply, bson.E{Key: "writeConcernError", Value: d})
}
