package devmongo

import (
	"bytes"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestEveryTypeIsEncodedUnchanged(t *testing.T) {
	t.Parallel()
	for i, v := range append(pool(), bson.Binary{Subtype: 2, Data: []byte("old")}, bson.Binary{Subtype: 4, Data: make([]byte, 16)}) {
		raw, err := bson.Marshal(d("v", bson.A{v, d("v", v)}))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := decode(raw)
		if err != nil {
			t.Fatalf("%d %v: %v", i, v, err)
		}
		back, err := encode(doc)
		if err != nil || !bytes.Equal(raw, back) {
			t.Errorf("%v (%s) was encoded as %v, %v", bson.Raw(raw), typeName(v), back, err)
		}
	}
}

func TestOrderOfAllTypes(t *testing.T) {
	t.Parallel()
	inOrder := []any{
		bson.MinKey{},
		missing{},
		nil, bson.NewDecimal128(0xf800000000000000, 0), -1.5, int32(0), 0.5, int64(1), bson.NewDecimal128(0x3040000000000000, 2), int64(1 << 53), float64(1<<53 + 2),
		"", "a", bson.Symbol("b"),
		bson.D{},
		d("a", int32(1)), d("a", int32(2)), d("b", int32(1)),
		bson.A{},
		bson.A{int32(1)},
		bson.Binary{},
		bson.Binary{Data: []byte{0}},
		bson.ObjectID{},
		false, true,
		bson.DateTime(-1), bson.DateTime(1),
		bson.Timestamp{T: 1, I: 9},
		bson.Timestamp{T: 2},
		bson.Regex{Pattern: "a"},
		bson.DBPointer{},
		bson.JavaScript("x"),
		bson.CodeWithScope{Code: "x", Scope: bson.D{}},
		bson.MaxKey{},
	}
	for i, a := range inOrder {
		for j, b := range inOrder {
			if got, want := compare(a, b), sign(i-j); sign(got) != want {
				t.Errorf("compare(%v, %v) = %d, want %d", a, b, got, want)
			}
			if (canonical(a) == canonical(b)) != (i == j) {
				t.Errorf("canonical forms of %v and %v: %q, %q", a, b, canonical(a), canonical(b))
			}
		}
	}
	same := []any{int32(7), int64(7), 7.0, bson.NewDecimal128(0x3040000000000000, 7), bson.NewDecimal128(0x303e000000000000, 70)}
	for _, v := range same {
		if compare(v, same[0]) != 0 || canonical(v) != canonical(same[0]) {
			t.Errorf("%v (%s) is not 7", v, typeName(v))
		}
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

func TestInvalidBSONIsRejected(t *testing.T) {
	t.Parallel()
	deep := bson.D{}
	for range maxDepth + 1 {
		deep = d("a", deep)
	}
	raw, err := bson.Marshal(deep)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(raw); asError(err).Code != codeOverflow {
		t.Errorf("too deep: %v", err)
	}
	good, _ := bson.Marshal(d("s", "text", "a", bson.A{int32(1)}, "b", bson.Binary{Data: []byte{1}}, "c", bson.CodeWithScope{Code: "x", Scope: d("y", 1)}))
	for i := range good {
		for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			bad := slices.Clone(good)
			bad[i] = b
			_, _ = decode(bad) // must not panic
		}
		if _, err := decode(good[:i]); err == nil {
			t.Errorf("the first %d bytes were accepted", i)
		}
	}
}
