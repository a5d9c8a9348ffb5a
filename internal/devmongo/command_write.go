package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxStatements is MongoDB's maxWriteBatchSize.
const maxStatements = 100_000

// tally sums up the results of the statements of one command.
type tally struct {
	n, modified int32
	upserted    bson.A
	failed      bson.A
}

// each runs the statements in order. An ordered command stops at the first statement
// that fails.
func (o *op) each(count int, ordered bool, run func(i int) (any, error), add func(i int, result any)) (*tally, error) {
	t := &tally{}
	if count == 0 || count > maxStatements {
		return nil, refuse(codeInvalidLength, "Write batch sizes must be between 1 and %d. Got %d operations.", maxStatements, count)
	}
	for i := range count {
		result, err := o.once(i, func() (any, error) { return run(i) })
		if err == nil {
			add(i, result)
			continue
		}
		e := asError(err)
		if e.Code == codeNotWritablePrimary || o.txn != nil {
			return nil, e // an error of the command, not of one statement
		}
		failed := bson.D{{Key: "index", Value: int32(i)}, {Key: "code", Value: e.Code}}
		failed = append(append(failed, e.Extra...), bson.E{Key: "errmsg", Value: e.Message})
		if t.failed = append(t.failed, failed); ordered {
			break
		}
	}
	return t, nil
}

// ordered reads the option of insert, update and delete. The default is true.
func (o *op) ordered() bool {
	v := o.a.value("ordered")
	return isMissing(v) || isTrue(v)
}

func (t *tally) reply() bson.D {
	d := bson.D{{Key: "n", Value: t.n}}
	if len(t.failed) > 0 {
		d = append(d, bson.E{Key: "writeErrors", Value: t.failed})
	}
	return append(d, bson.E{Key: "ok", Value: 1.0})
}
