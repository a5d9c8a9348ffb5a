package devmongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// writeConcern says how long a write is waited for. MongoDB's default is a majority,
// for ever.
type writeConcern struct {
	majority bool
	unknown  bool // a named mode that does not exist
	nodes    int64
	timeout  time.Duration
	given    bson.D
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
