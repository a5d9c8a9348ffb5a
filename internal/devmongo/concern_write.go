package devmongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// writeConcern is which nodes must have a write before it is acknowledged. The
// default is a majority, without a timeout.
type writeConcern struct {
	majority bool
	nodes    int64
	// timeout is wtimeout: how long to wait for the nodes. Zero: no limit of its own.
	timeout time.Duration
	given   bson.D
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
		if w != "majority" {
			return unsupported(codeUnknownConcernMode, "write concern mode '%s'", w)
		}
	default:
		n, ok := number(w)
		if !ok || n < 0 || n > 50 {
			return refuse(codeFailedToParse, "w has to be a number between 0 and 50, or a string")
		}
		o.write.majority, o.write.nodes = false, n
	}
	// Drivers send it with the second commit of a transaction.
	if given := a.value("wtimeout"); !isMissing(given) {
		ms, ok := number(given)
		if !ok || ms < 0 {
			return refuse(codeFailedToParse, "wtimeout has to be a number of milliseconds, 0 or more")
		}
		o.write.timeout = time.Duration(ms) * time.Millisecond
	}
	return a.finish()
}

// waitForWrite waits for the write concern. If that fails, the write has been done
// nevertheless, and the reply has a writeConcernError.
func (o *op) waitForWrite(reply bson.D) (bson.D, error) {
	if o.concernError != nil {
		reply = append(reply, bson.E{Key: "writeConcernError", Value: o.concernError})
		if code, _ := number(field(o.concernError, "code")); o.txnNumber >= 0 && slices.Contains(retryableWriteCodes, int32(code)) {
			reply = append(reply, bson.E{Key: "errorLabels", Value: bson.A{"RetryableWriteError"}})
		}
		return reply, nil
	}
	if o.flags&writes == 0 || o.txn != nil {
		return reply, nil
	}
	if o.write.nodes > 1 {
		return withConcernError(reply, codeUnsatisfiableConcern, "Not enough data-bearing nodes"), nil
	}
	if o.write.majority {
		return o.waitForMajority(reply), nil
	}
	return reply, nil
}

// errWriteConcernTimeout: wtimeout is over. The write has been done.
var errWriteConcernTimeout = refuse(codeWriteConcernFailed, "waiting for replication timed out")

func (o *op) waitForMajority(reply bson.D) bson.D {
	ctx := o.ctx
	if o.write.timeout > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, o.write.timeout, errWriteConcernTimeout)
		defer cancel()
		ctx = limited
	}
	at, term := o.operationTime, o.s.term
	err := o.s.await(ctx, func() bool { return o.s.oplog.majority >= at || o.s.term != term })
	if err == nil && o.s.term != term {
		err = refuse(codeInterruptedByStepDown, "the node stepped down while it waited for the write concern")
	}
	if err == nil {
		return reply
	}
	e := asError(err)
	return withConcernError(reply, e.Code, e.Message)
}

func withConcernError(reply bson.D, code int32, message string) bson.D {
	return append(reply, bson.E{Key: "writeConcernError", Value: bson.D{
		{Key: "code", Value: code}, {Key: "codeName", Value: codeName(code)}, {Key: "errmsg", Value: message},
	}})
}
