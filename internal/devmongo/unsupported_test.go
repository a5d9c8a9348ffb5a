package devmongo

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// MongoDB supports all of these. devmongo must reject them instead of ignoring them,
// and the message must name devmongo.
func TestUnsupportedFeaturesAreRejected(t *testing.T) {
	t.Parallel()
	s := start(t)
	match := func(filter bson.D) bson.D { return d("find", "x", "filter", filter) }
	expr := func(e any) bson.D { return match(d("$expr", e)) }
	update := func(u any) bson.D { return d("update", "x", "updates", bson.A{d("q", d(), "u", u)}) }
	pipeline := func(stages ...any) bson.D {
		return d("aggregate", "x", "pipeline", bson.A(stages), "cursor", d())
	}
	s.direct(t, d("insert", "x", "documents", bson.A{d("_id", 1)}))
	for name, c := range map[string]struct {
		command bson.D
		code    int32
	}{
		"command":                 {d("distinct", "x", "key", "a"), 59},
		"listDatabases":           {d("listDatabases", 1), 59},
		"connectionStatus":        {d("connectionStatus", 1), 59},
		"option of find":          {d("find", "x", "skip", 1), 40415},
		"collation":               {d("find", "x", "collation", d("locale", "en")), 40415},
		"hint":                    {d("find", "x", "hint", "_id_"), 2},
		"filter operator":         {match(d("a", d("$gte", 1))), 2},
		"top-level operator":      {match(d("$nor", bson.A{d()})), 2},
		"regex":                   {match(d("a", bson.Regex{Pattern: "x"})), 2},
		"regex options":           {match(d("a", d("$regex", "x", "$options", "i"))), 2},
		"type":                    {match(d("a", d("$type", bson.A{"int", "text"}))), 2},
		"minKey":                  {match(d("a", bson.MinKey{})), 2},
		"expression":              {expr(d("$add", bson.A{1, 2})), 168},
		"computed object":         {expr(d("$eq", bson.A{d("a", 1), 1})), 238},
		"system variable":         {expr("$$NOW"), 17276},
		"computed projection":     {d("find", "x", "projection", d("a", "$b")), 238},
		"update operator":         {update(d("$push", d("a", 1))), 9},
		"currentDate type":        {update(d("$currentDate", d("a", d("$type", "timestamp")))), 2},
		"pull by condition":       {update(d("$pull", d("a", d("$gt", 1)))), 2},
		"positional operator":     {update(d("$set", d("a.$", 1))), 238},
		"pipeline stage":          {pipeline(d("$sort", d("a", 1))), 40324},
		"out":                     {pipeline(d("$out", "y")), 40324},
		"group":                   {pipeline(d("$group", d("_id", "$a", "n", d("$sum", 1)))), 238},
		"accumulator":             {pipeline(d("$group", d("_id", 1, "n", d("$max", 1)))), 15952},
		"stage in an update":      {update(bson.A{d("$project", d("a", 1))}), 72},
		"stage in a stream":       {pipeline(d("$changeStream", d()), d("$project", d("a", 1))), 20},
		"option of a stream":      {pipeline(d("$changeStream", d("fullDocument", "updateLookup"))), 40415},
		"remove by findAndModify": {d("findAndModify", "x", "query", d(), "remove", true), 40415},
		"capped collection":       {d("create", "y", "capped", true), 40415},
		"index type":              {d("createIndexes", "x", "indexes", bson.A{d("key", d("a", "text"), "name", "a")}), 67},
		"partial index":           {d("createIndexes", "x", "indexes", bson.A{d("key", d("a", 1), "name", "a", "partialFilterExpression", d("a", 1))}), 67},
		"all indexes":             {d("dropIndexes", "x", "index", "*"), 238},
		"snapshot read":           {d("find", "x", "readConcern", d("level", "snapshot")), 72},
		"available read":          {d("find", "x", "readConcern", d("level", "available")), 9},
		"write concern mode":      {d("insert", "x", "documents", bson.A{d()}, "writeConcern", d("w", "eu")), 79},
		"Stable API":              {d("ping", 1, "apiVersion", "1"), 40415},
	} {
		reply := s.direct(t, c.command)
		message, _ := field(reply, "errmsg").(string)
		if errs, ok := field(reply, "writeErrors").(bson.A); ok {
			reply = errs[0].(bson.D)
			message, _ = field(reply, "errmsg").(string)
		}
		if field(reply, "code") != c.code || !strings.Contains(message, "devmongo") {
			t.Errorf("%s: %v, want the code %d and a message that names devmongo", name, reply, c.code)
		}
	}
}
