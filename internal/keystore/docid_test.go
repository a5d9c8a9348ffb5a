package keystore

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/keytail/keytail/internal/apikey"
)

func rawValue(t testing.TB, value any) bson.RawValue {
	t.Helper()
	if value == nil {
		return bson.RawValue{Type: bson.TypeNull}
	}
	kind, data, err := bson.MarshalValue(value)
	if err != nil {
		t.Fatal(err)
	}
	return bson.RawValue{Type: kind, Value: data}
}

func decimal(t testing.TB, text string) bson.Decimal128 {
	t.Helper()
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEqualIDsShareAForm(t *testing.T) {
	t.Parallel()
	forms := map[apikey.DocID][]any{}
	otherNaN := math.Float64frombits(0xFFF8000000000001)
	for _, class := range [][]any{
		{int32(1), int64(1), 1.0, decimal(t, "1"), decimal(t, "1.000"), decimal(t, "10E-1")},
		{int32(0), int64(0), 0.0, math.Copysign(0, -1), decimal(t, "0"), decimal(t, "-0"), decimal(t, "0E+6000"), decimal(t, "0E-6000")},
		{int32(-5), int64(-5), -5.0, decimal(t, "-5")},
		{int64(1200), decimal(t, "12E2"), 1200.0},
		{int64(math.MinInt64), -twoTo63, decimal(t, "-9223372036854775808")},
		{int64(math.MaxInt64), decimal(t, "9223372036854775807")},
		{twoTo63, decimal(t, "9223372036854775808")},
		{0.5, decimal(t, "0.5"), decimal(t, "0.500"), decimal(t, "5E-1")},
		{0.1},
		{decimal(t, "0.1"), decimal(t, "0.10")},
		{1e300},
		{decimal(t, "1E+300"), decimal(t, "10E+299")},
		{decimal(t, "1E+6144")},
		{decimal(t, "1E-6176")},
		{math.Inf(1), decimal(t, "Infinity")},
		{math.Inf(-1), decimal(t, "-Infinity")},
		{math.NaN(), otherNaN, decimal(t, "NaN")},
		{"1", bson.Symbol("1")},
		{""},
		{nil},
		{true},
		{false},
		{bson.ObjectID{1}},
		{bson.ObjectID{2}},
		{bson.DateTime(1)},
		{bson.Timestamp{I: 1}},
		{bson.Binary{Subtype: 0, Data: []byte("1")}},
		{bson.Binary{Subtype: 4, Data: []byte("1")}},
		{bson.D{}},
		{bson.D{{Key: "a", Value: int32(1)}}},
		{bson.D{{Key: "a", Value: int32(2)}}},
		{bson.MinKey{}},
		{bson.MaxKey{}},
	} {
		form := DefaultSchema().ID(rawValue(t, class[0]))
		for _, value := range class {
			if got := DefaultSchema().ID(rawValue(t, value)); got != form {
				t.Errorf("%v (%T) has the form %q, %v (%T) has %q", value, value, got, class[0], class[0], form)
			}
		}
		forms[form] = append(forms[form], class[0])
	}
	for form, members := range forms {
		if len(members) > 1 {
			t.Errorf("%v are different and share the form %q", members, form)
		}
	}
}

func TestIDHasAnInverse(t *testing.T) {
	t.Parallel()
	for _, value := range []any{
		"key-1", "", bson.Symbol("s"), int32(7), int64(math.MinInt64), 1.5, math.NaN(), math.Inf(-1), decimal(t, "0.1"),
		decimal(t, "1E+6144"), decimal(t, "-1E-6176"), decimal(t, "9999999999999999999999999999999999E+6111"),
		bson.NewObjectID(),
		bson.Binary{Subtype: 4, Data: make([]byte, 16)},
		bson.D{{Key: "a", Value: 1.5}},
		true, nil,
		bson.DateTime(5),
		bson.Timestamp{T: 1, I: 2},
		bson.MinKey{},
		bson.MaxKey{},
	} {
		form := DefaultSchema().ID(rawValue(t, value))
		back, err := idValue(form)
		if err != nil || DefaultSchema().ID(back) != form {
			t.Errorf("%v (%T): %q was decoded as %v with the form %q, error %v", value, value, form, back, DefaultSchema().ID(back), err)
		}
	}
}

func TestImpossibleIDsAreNotQueried(t *testing.T) {
	t.Parallel()
	for _, value := range []any{
		bson.Regex{Pattern: "."}, bson.A{int32(1)}, bson.Undefined{}, bson.D{{Key: "$gt", Value: ""}},
	} {
		if _, err := idValue(DefaultSchema().ID(rawValue(t, value))); !errors.Is(err, errNoID) {
			t.Errorf("%v: got %v", value, err)
		}
	}
	for _, id := range []apikey.DocID{"", "\x07short", "\x13no number", "\x99"} {
		if _, err := idValue(id); err == nil {
			t.Errorf("%q has a value", id)
		}
	}
	// The driver takes this document for valid, and panics where it is read.
	if _, err := idValue("\x03\x00\x00\x00\x00"); !errors.Is(err, errNoID) {
		t.Errorf("a document without length: got %v", err)
	}
}

// exactly returns the number as a ratio, computed in another way than in
// decimalID.
func exactly(t *rapid.T, d bson.Decimal128) *big.Rat {
	ratio, ok := new(big.Rat).SetString(d.String())
	if !ok {
		t.Fatalf("%v is no number", d)
	}
	return ratio
}

func TestNumbersShareAFormExactlyWhenTheyAreEqual(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) bson.Decimal128 {
			digits := rapid.Int64Range(-3000, 3000).Draw(t, label)
			exponent := rapid.IntRange(-4, 22).Draw(t, label+" exponent")
			d, err := bson.ParseDecimal128(strconv.FormatInt(digits, 10) + "E" + strconv.Itoa(exponent))
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		a, b := draw("a"), draw("b")
		form := func(value any) apikey.DocID {
			kind, data, err := bson.MarshalValue(value)
			if err != nil {
				t.Fatal(err)
			}
			return DefaultSchema().ID(bson.RawValue{Type: kind, Value: data})
		}
		equal := exactly(t, a).Cmp(exactly(t, b)) == 0
		if (form(a) == form(b)) != equal {
			t.Fatalf("%v and %v: equal %v, forms %q and %q", a, b, equal, form(a), form(b))
		}
		f, exact := exactly(t, a).Float64()
		if (form(f) == form(a)) != exact {
			t.Fatalf("%v and the double %v: equal %v, forms %q and %q", a, f, exact, form(a), form(f))
		}
		if n := exactly(t, a); n.IsInt() && n.Num().IsInt64() && form(n.Num().Int64()) != form(a) {
			t.Fatalf("%v is a whole number with its own form", a)
		}
	})
}
