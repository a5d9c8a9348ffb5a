package devmongo

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// pool are values that are likely to break a handler.
func pool() []any {
	return []any{
		nil, true, int32(0), int32(-1), int64(math.MinInt64), int64(math.MaxInt64), 1.5, math.NaN(), math.Inf(-1), "", "$", "$$", "$a", "$$ROOT.a", "$$frob", "a.b", ".", "a..b", "a.-1", "a.999999999",
		bson.A{},
		bson.A{nil},
		bson.A{bson.A{int32(1)}},
		bson.D{},
		bson.D{{Key: "$frob", Value: int32(1)}},
		bson.D{{Key: "", Value: nil}},
		bson.D{{Key: "$each", Value: bson.A{int32(1)}}},
		bson.Undefined{},
		bson.MinKey{},
		bson.MaxKey{},
		bson.DateTime(math.MinInt64),
		bson.Timestamp{T: math.MaxUint32, I: math.MaxUint32},
		bson.Regex{Pattern: "(", Options: "i"},
		bson.NewDecimal128(0x7800000000000000, 0),
		bson.NewDecimal128(0x5ffe000000000000, 1),
		bson.ObjectID{},
		bson.Binary{},
		bson.JavaScript("x"), bson.Symbol("s"),
		bson.DBPointer{},
		bson.CodeWithScope{Code: "x", Scope: bson.D{}},
		int64(1), "x", int32(1),
		bson.A{"$a", int32(1)},
	}
}

// operators are supported and unsupported ones, and field names.
var operators = []string{
	"$eq", "$lt", "$lte", "$ne", "$in", "$nin", "$exists", "$type", "$regex", "$and", "$or", "$expr", "$gt", "$not", "$elemMatch",
	"$set", "$unset", "$inc", "$max", "$pull", "$currentDate", "$push",
	"$match", "$group", "$project", "$changeStream", "$out",
	"$let", "$map", "$literal", "$ifNull", "$arrayElemAt", "$objectToArray", "$split", "$setUnion", "$setIntersection", "$setIsSubset", "$size", "$sum", "$cond",
	"", "a.b", "_id", "a",
}

// mutate changes one part of a value.
func mutate(r *rand.Rand, v any) any {
	switch x := v.(type) {
	case bson.D:
		if len(x) == 0 || r.IntN(8) == 0 {
			break
		}
		out := append(bson.D{}, x...)
		i := r.IntN(len(out))
		switch r.IntN(6) {
		case 0:
			out[i].Key = operators[r.IntN(len(operators))]
		case 1:
			return append(out, bson.E{Key: operators[r.IntN(len(operators))], Value: pool()[r.IntN(len(pool()))]})
		default:
			out[i].Value = mutate(r, out[i].Value)
		}
		return out
	case bson.A:
		if len(x) == 0 || r.IntN(8) == 0 {
			break
		}
		out := append(bson.A{}, x...)
		i := r.IntN(len(out))
		out[i] = mutate(r, out[i])
		return out
	}
	return pool()[r.IntN(len(pool()))]
}

func TestMutatedCommandsNeverPanic(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := newServerWithoutListener(t)
	list := seeds()
	docs := bson.A{}
	for i := range 5 {
		docs = append(docs, d("_id", i, "a", bson.A{1, d("b", i), bson.A{}}, "n", i, "sub", d("x", "y"), "l", bson.A{i}, "s", "a.b", "t", bson.DateTime(i)))
	}
	fill, err := decode(must(bson.Marshal(d("insert", "x", "documents", docs, "ordered", false, "$db", "app")))(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8_000 {
		if i%20 == 0 {
			s.sessions = map[string]*session{} // a very large transaction number would reject all later ones
			s.answerBriefly(t, fill)
		}
		cmd := list[1+r.IntN(len(list)-1)]
		raw, err := bson.Marshal(cmd)
		if err != nil {
			t.Fatal(err)
		}
		body, err := decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(3) {
			if rest, ok := mutate(r, body[1:]).(bson.D); ok {
				body = append(body[:1:1], rest...)
			}
		}
		if cmd[0].Key == "getMore" {
			for id, c := range s.cursors {
				body = d("getMore", id, "collection", c.ns.coll, "maxTimeMS", int32(1))
				break
			}
		}
		if r.IntN(20) == 0 {
			body[0].Value = pool()[r.IntN(len(pool()))]
		}
		db := "app"
		if known, ok := commandNamed(body[0].Key); ok && known.flags&adminOnly != 0 {
			db = "admin"
		}
		s.answerBriefly(t, append(body, bson.E{Key: "$db", Value: db}))
	}
}

// answerBriefly executes a command that may wait without end.
func (s *Server) answerBriefly(t *testing.T, body bson.D) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Millisecond, errTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%v: panic: %v", body, p)
		}
	}()
	reply, err := s.execute(ctx, &conn{s: s}, &request{body: body})
	if err != nil {
		t.Fatalf("%v: %v", body, err)
	}
	if _, err := bson.Marshal(reply); err != nil {
		t.Fatalf("%v: the reply cannot be encoded: %v", body, err)
	}
}
