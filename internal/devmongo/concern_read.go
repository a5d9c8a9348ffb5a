package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// The levels of a read concern.
const (
	levelLocal        = "local"
	levelMajority     = "majority"
	levelLinearizable = "linearizable"
	levelSnapshot     = "snapshot"
)

type readConcern struct {
	level string
	after clustertime.Time // zero: none
	at    clustertime.Time // of a snapshot read outside transactions; zero: it is none
}

// readConcerns reads both concerns, and rejects them on commands that do not accept
// them.
func (o *op) readConcerns() error {
	a := newArgs("readConcern", o.a.document("readConcern"))
	o.read.level = a.str("level")
	// Writes of a causally consistent session have a read concern without a level.
	if o.read.level != "" && o.read.level != levelLocal && o.flags&reads == 0 && isMissing(field(o.a.doc, "startTransaction")) {
		return refuse(codeInvalidOptions, "Command %s does not support { readConcern: { level: '%s' } }", o.name, o.read.level)
	}
	var err error
	if o.read.after, err = timeOption(a, "readConcern", "afterClusterTime"); err != nil {
		return err
	}
	if o.read.at, err = timeOption(a, "readConcern", "atClusterTime"); err != nil {
		return err
	}
	if err := a.finish(); err != nil {
		return err
	}
	if err := o.checkLevel(); err != nil {
		return err
	}
	return o.readWriteConcern()
}

// timeOption reads an option that is a cluster time. Zero: it is missing.
func timeOption(a *args, of, name string) (clustertime.Time, error) {
	switch v := a.value(name).(type) {
	case bson.Timestamp:
		return clustertime.New(v.T, v.I), nil
	default:
		if !isMissing(v) {
			return 0, refuse(codeTypeMismatch, "%s.%s must be a timestamp", of, name)
		}
		return 0, nil
	}
}

func (o *op) checkLevel() error {
	if o.read.at != 0 && (o.read.level != levelSnapshot || o.read.after != 0) {
		return refuse(codeInvalidOptions, "atClusterTime can be set only if level is equal to snapshot, and without afterClusterTime")
	}
	switch o.read.level {
	case "":
		o.read.level = levelLocal
	case levelLocal, levelMajority:
	case levelLinearizable:
		if o.read.after != 0 {
			return refuse(codeInvalidOptions, "afterClusterTime field can be set only if level is equal to majority, local, or snapshot")
		}
	case levelSnapshot:
		inTransaction := !isMissing(field(o.a.doc, "startTransaction"))
		if inTransaction == (o.read.at != 0) || (!inTransaction && o.name != "find") {
			return unsupported(codeInvalidOptions, "readConcern level snapshot outside transactions except for a find with atClusterTime, or atClusterTime in a transaction")
		}
		o.read.level = levelMajority
	default:
		return unsupported(codeFailedToParse, "readConcern.level '%s'", o.read.level)
	}
	return nil
}

// waitForRead waits until the node has reached afterClusterTime, and selects the view
// for the read concern.
func (o *op) waitForRead() error {
	log := &o.s.oplog
	if o.read.after > log.clock {
		return refuse(codeInvalidOptions, "readConcern afterClusterTime value must not be greater than the current clusterTime. Requested clusterTime: %s; current clusterTime: %s", o.read.after, log.clock)
	}
	if o.read.after > log.applied && o.s.steppedDown == nil {
		o.s.record(&logEntry{kind: kindNoop}) // a primary advances its log instead of waiting for a write
	}
	err := o.s.await(o.ctx, func() bool {
		return log.applied >= o.read.after && (o.read.level != levelMajority || log.majority >= o.read.after)
	})
	if err != nil {
		return err
	}
	o.view = o.s.applied
	if o.read.at != 0 {
		o.view, o.operationTime = o.s.history.stateAt(o.read.at), o.read.at
		if o.view == nil {
			return refuse(codeSnapshotUnavailable, "the documents at %s were not kept (KeepHistory)", o.read.at)
		}
		return nil
	}
	if o.read.level == levelMajority {
		o.view = o.s.majority
		if o.s.behind != nil && o.name == "find" && o.read.after <= o.s.behindAt {
			o.view, o.operationTime = o.s.behind, o.s.behindAt
		}
	}
	return nil
}

// waitForLinear verifies, as MongoDB does, that the node was still primary after the
// read: it waits until a majority has a no-op.
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
