package devmongo

import (
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
