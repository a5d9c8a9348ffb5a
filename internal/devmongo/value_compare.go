package devmongo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// compare orders two values as MongoDB sorts them. Numbers of different types compare
// by their value.
func compare(a, b any) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch x := a.(type) {
	case int32, int64, float64, bson.Decimal128:
		return compareNumbers(a, b)
	case string, bson.Symbol:
		return strings.Compare(text(a), text(b))
	case bson.D:
		return compareDocs(x, b.(bson.D))
	case bson.A:
		return compareArrays(x, b.(bson.A))
	case bson.Binary:
		y := b.(bson.Binary)
		return cmp.Or(cmp.Compare(len(x.Data), len(y.Data)), cmp.Compare(x.Subtype, y.Subtype), bytes.Compare(x.Data, y.Data))
	case bson.ObjectID:
		y := b.(bson.ObjectID)
		return bytes.Compare(x[:], y[:])
	case bool:
		return compareBools(x, b.(bool))
	case bson.DateTime:
		return cmp.Compare(x, b.(bson.DateTime))
	case bson.Timestamp:
		y := b.(bson.Timestamp)
		return cmp.Or(cmp.Compare(x.T, y.T), cmp.Compare(x.I, y.I))
	}
	return strings.Compare(canonical(a), canonical(b))
}

func text(v any) string {
	switch s := v.(type) {
	case string:
		return s
	case bson.Symbol:
		return string(s)
	}
	return ""
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func compareDocs(a, b bson.D) int {
	for i := range min(len(a), len(b)) {
		c := cmp.Or(cmp.Compare(rank(a[i].Value), rank(b[i].Value)), strings.Compare(a[i].Key, b[i].Key), compare(a[i].Value, b[i].Value))
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareArrays(a, b bson.A) int {
	for i := range min(len(a), len(b)) {
		if c := compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareNumbers(a, b any) int {
	x, okX := number(a)
	y, okY := number(b)
	if okX && okY {
		return cmp.Compare(x, y)
	}
	f, g := float(a), float(b)
	if math.IsNaN(f) || math.IsNaN(g) || math.IsInf(f, 0) || math.IsInf(g, 0) {
		return cmp.Compare(f, g) // NaN is the least number, as in MongoDB
	}
	return rational(a).Cmp(rational(b))
}

func float(v any) float64 {
	switch n := v.(type) {
	case int32:
		return float64(n)
	case int64:
		return float64(n)
	case float64:
		return n
	case bson.Decimal128:
		switch {
		case n.IsNaN():
			return math.NaN()
		case n.IsInf() != 0:
			return math.Inf(n.IsInf())
		}
		f, _ := rational(n).Float64()
		return max(-math.MaxFloat64, min(math.MaxFloat64, f))
	}
	return 0
}

// rational is the exact value of a finite number.
func rational(v any) *big.Rat {
	switch n := v.(type) {
	case float64:
		return new(big.Rat).SetFloat64(n)
	case bson.Decimal128:
		digits, exponent, err := n.BigInt()
		if err != nil {
			return new(big.Rat)
		}
		power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
		if exponent < 0 {
			return new(big.Rat).SetFrac(digits, power)
		}
		return new(big.Rat).SetInt(digits.Mul(digits, power))
	}
	i, _ := number(v)
	return new(big.Rat).SetInt64(i)
}

// canonical returns a string that is the same for two values exactly if they compare
// equal. It is the key of every index.
func canonical(v any) string { return string(appendCanonical(nil, v)) }

func appendCanonical(dst []byte, v any) []byte {
	dst = append(dst, byte(rank(v)))
	switch x := v.(type) {
	case int32, int64, float64, bson.Decimal128:
		return appendCanonicalNumber(dst, v)
	case string, bson.Symbol:
		return appendSized(dst, text(v))
	case bson.D:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(x)))
		for _, e := range x {
			dst = appendCanonical(appendSized(dst, e.Key), e.Value)
		}
		return dst
	case bson.A:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(x)))
		for _, e := range x {
			dst = appendCanonical(dst, e)
		}
		return dst
	case bson.ObjectID:
		return append(dst, x[:]...)
	case bson.Regex:
		return appendSized(appendSized(dst, x.Pattern), x.Options)
	case nil, missing, bson.Undefined, bson.MinKey, bson.MaxKey:
		return dst
	}
	_, data, _ := bson.MarshalValue(v)
	return appendSized(dst, string(data))
}

func appendCanonicalNumber(dst []byte, v any) []byte {
	if i, ok := number(v); ok {
		return binary.BigEndian.AppendUint64(append(dst, 'i'), uint64(i))
	}
	f := float(v)
	switch {
	case math.IsNaN(f):
		return append(dst, 'n')
	case math.IsInf(f, 0):
		return append(dst, 'f', byte(compareNumbers(f, 0.0)))
	}
	r := rational(v)
	if r.IsInt() && r.Num().IsInt64() {
		return binary.BigEndian.AppendUint64(append(dst, 'i'), uint64(r.Num().Int64()))
	}
	return appendSized(append(dst, 'r'), r.String())
}

func appendSized(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

// identical is stricter than compare: the BSON of both values is the same.
func identical(a, b any) bool {
	x, errX := bson.Marshal(bson.D{{Key: "v", Value: a}})
	y, errY := bson.Marshal(bson.D{{Key: "v", Value: b}})
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
