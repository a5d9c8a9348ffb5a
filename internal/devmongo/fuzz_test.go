package devmongo

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// seeds are commands of every kind, valid and invalid, from which a fuzzer starts.
func seeds() []bson.D {
	id := bson.Binary{Subtype: 4, Data: make([]byte, 16)}
	roots := d("$map", d("input", d("$objectToArray", d("$ifNull", bson.A{"$sub", d()})), "as", "f", "in", d("$arrayElemAt", bson.A{d("$split", bson.A{"$$f.k", "."}), 0})))
	expr := d("$let", d("vars", d("roots", d("$setUnion", bson.A{roots, "$a"})), "in", d("$not", bson.A{d("$setIsSubset", bson.A{"$$roots", bson.A{"x"}})})))
	return []bson.D{
		d("hello", 1, "client", d("application", d("name", "x"))),
		d("insert", "x", "documents", bson.A{d("_id", 1, "a", bson.A{1, d("b", 2.5)}, "t", bson.DateTime(5))}, "lsid", d("id", id), "txnNumber", int64(1)),
		d("insert", "x", "documents", bson.A{d("_id", bson.NewDecimal128(1, 2)), d("_id", bson.Regex{Pattern: "a"})}, "ordered", false, "writeConcern", d("w", 1)),
		d("find", "x", "filter", d("a", d("$in", bson.A{1, nil}, "$ne", 2), "$or", bson.A{d("t", d("$type", "date")), d("s", d("$regex", "^a"))}), "sort", d("a", -1), "projection", d("a.b", 1), "batchSize", 1),
		d("find", "x", "filter", d("$expr", d("$and", bson.A{d("$gt", bson.A{d("$size", "$a"), 0}), d("$or", bson.A{d("$setIsSubset", bson.A{"$a", bson.A{1}}), d("$lt", bson.A{"$n", 1})})}))),
		d("find", "x", "filter", d("$expr", expr)),
		d("find", "x", "readConcern", d("level", "majority", "afterClusterTime", bson.Timestamp{T: 1, I: 1}), "maxTimeMS", 1),
		d("update", "x", "updates", bson.A{d("q", d("_id", 1, "$and", bson.A{d("b", d("$exists", true))}), "u", d("$set", d("a.0", 1), "$max", d("m", 1), "$inc", d("n", 1)), "upsert", true)}),
		d("update", "x", "updates", bson.A{d("q", d(), "u", bson.A{d("$set", d("a", d("$map", d("input", "$a", "as", "e", "in", "$$e.b")), "s.u", d("$literal", "$x")))}, "multi", true)}),
		d("update", "x", "updates", bson.A{d("q", d("t", d("$nin", bson.A{2})), "u", d("$pull", d("a", 1), "$unset", d("t", 1), "$currentDate", d("c", true)))}),
		d("findAndModify", "x", "query", d("n", d("$lt", 3)), "update", d("z", 1), "new", true),
		d("delete", "x", "deletes", bson.A{d("q", d("a", d("b", 1)), "limit", 0)}),
		d("aggregate", "x", "pipeline", bson.A{d("$match", d()), d("$group", d("_id", 1, "n", d("$sum", 1)))}, "cursor", d()),
		d("aggregate", "x", "pipeline", bson.A{d("$set", d("v", d("$eq", bson.A{"$a", "$n"}))), d("$project", d("v", 1, "a.b", 1))}, "cursor", d()),
		d("aggregate", 1, "pipeline", bson.A{d("$changeStream", d()), d("$match", d("operationType", "x"))}, "cursor", d("batchSize", 0)),
		d("aggregate", "x", "pipeline", bson.A{d("$changeStream", d("resumeAfter", position{at: 1}.token([16]byte{})))}, "cursor", d()),
		d("aggregate", "x", "pipeline", bson.A{d("$changeStream", d("resumeAfter", position{at: 1 << 62, event: true, index: 70, invalidate: true}.token([16]byte{})))}, "cursor", d()),
		d("getMore", int64(1), "collection", "x", "maxTimeMS", 1),
		d("killCursors", "x", "cursors", bson.A{int64(1)}),
		d("createIndexes", "x", "indexes", bson.A{d("key", d("a", 1, "b.c", -1), "name", "i", "unique", true, "sparse", true)}),
		d("createIndexes", "x", "indexes", bson.A{d("key", d("t", 1), "name", "ttl", "expireAfterSeconds", 1)}),
		d("dropIndexes", "x", "index", "i"), d("listIndexes", "x"), d("listCollections", 1, "filter", d("name", "x"), "nameOnly", true),
		d("create", "x"), d("drop", "x"), d("dropDatabase", 1), d("distinct", "x", "key", "a.b"), d("count", "x"),
		d("find", "x", "lsid", d("id", id), "txnNumber", int64(5), "autocommit", false, "startTransaction", true),
		d("insert", "x", "documents", bson.A{d("_id", "t")}, "lsid", d("id", id), "txnNumber", int64(5), "autocommit", false),
		d("commitTransaction", 1, "lsid", d("id", id), "txnNumber", int64(5), "autocommit", false),
		d("delete", "x", "deletes", bson.A{d("q", d("a", 1), "limit", 1), d("q", d("_id", 3), "limit", 0)}),
		d("find", "x", "sort", d("a", 1, "sub.x", -1), "limit", 2, "projection", d("l", 0, "sub.x", 0), "hint", d("_id", 1), "allowDiskUse", true),
		d("renameCollection", "app.x", "to", "app.y", "dropTarget", true),
		d("endSessions", bson.A{d("id", id)}), d("buildInfo", 1),
	}
}

// newServerWithoutListener is a server that does not accept connections, for a fuzz function.
func newServerWithoutListener(tb testing.TB) *Server {
	tb.Helper()
	s, err := New(Config{Getenv: noEnv})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.listener.Close() })
	return s
}

func FuzzBytesOnTheSocketNeverPanic(f *testing.F) {
	for _, cmd := range seeds() {
		raw, err := bson.Marshal(append(cmd, bson.E{Key: "$db", Value: "app"}))
		if err != nil {
			f.Fatal(err)
		}
		i, b := wiremessage.AppendHeaderStart(nil, 1, 0, wiremessage.OpMsg)
		b = wiremessage.AppendMsgFlags(b, 0)
		f.Add(setLength(append(wiremessage.AppendMsgSectionType(b, wiremessage.SingleDocument), raw...), i))
		i, b = wiremessage.AppendHeaderStart(nil, 1, 0, wiremessage.OpQuery)
		b = append(append(b, 0, 0, 0, 0), "admin.$cmd\x00\x00\x00\x00\x00\xff\xff\xff\xff"...)
		f.Add(setLength(append(b, raw...), i))
	}
	doc, _ := bson.Marshal(d("insert", "x", "$db", "app"))
	i, b := wiremessage.AppendHeaderStart(nil, 1, 0, wiremessage.OpMsg)
	b = append(wiremessage.AppendMsgSectionType(wiremessage.AppendMsgFlags(b, 1), wiremessage.SingleDocument), doc...)
	b = append(b, 1, 19, 0, 0, 0)
	b = append(append(b, "documents\x00"...), 5, 0, 0, 0, 0)
	f.Add(setLength(append(b, 1, 2, 3, 4), i))
	s := newServerWithoutListener(f)
	f.Fuzz(func(_ *testing.T, data []byte) {
		client, server := net.Pipe()
		c := s.addConn(server)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		go func() {
			_, _ = client.Write(data)
			_ = client.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		c.serve(ctx)
	})
}

func FuzzCommandsNeverPanic(f *testing.F) {
	for _, cmd := range seeds() {
		raw, err := bson.Marshal(cmd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, true)
	}
	s := newServerWithoutListener(f)
	f.Fuzz(func(t *testing.T, raw []byte, reset bool) {
		body, err := decode(raw)
		if err != nil || len(body) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		run := func(cmd bson.D) {
			reply, _ := s.execute(ctx, &conn{s: s}, &request{body: append(cmd[:len(cmd):len(cmd)], bson.E{Key: "$db", Value: "app"})})
			if _, err := bson.Marshal(reply); err != nil {
				t.Errorf("a reply cannot be encoded: %v", err)
			}
		}
		if reset {
			run(d("dropDatabase", int32(1)))
			run(must(decode(must(bson.Marshal(seeds()[1]))(t)))(t))
		}
		run(body)
	})
}
