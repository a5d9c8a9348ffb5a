package keystore

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// The canonical form of an _id begins with a byte that defines how to read the
// rest. For types that MongoDB never treats as equal to another type, this byte
// is the BSON type and the rest is the bytes of the value. Where MongoDB treats
// values of different types or different bytes as equal, they have the same
// form:
//
//	idInteger  8 bytes big-endian: int32, int64, and a double or Decimal128
//	           that is such a whole number (so 1, 1.0, 1E0; -0.0 is 0)
//	idDouble   8 bytes, IEEE 754: any other double, and a Decimal128 that is
//	           exactly one, including infinities and (as one value) the NaNs
//	idDecimal  text: any other Decimal128, without trailing zeros
//	idString   the bytes of a string or a symbol
//
// The form of an embedded document is its bytes. So {a: 1} and {a: 1.0} have
// different forms here, although MongoDB treats them as the same _id. A cache
// entry keeps the form that its document has, so this has no effect unless
// someone replaces a document, by a delete and an insert, by one whose nested
// number has another type.
const (
	idInteger = byte(bson.TypeInt64)
	idDouble  = byte(bson.TypeDouble)
	idDecimal = byte(bson.TypeDecimal128)
	idString  = byte(bson.TypeString)
)

// ID returns the canonical form of an _id. The forms of two values are equal
// exactly when MongoDB treats the values as equal, except within embedded
// documents. A value that is not valid BSON has the empty form.
func (s Schema) ID(v bson.RawValue) apikey.DocID { return apikey.DocID(appendID(nil, v)) }

// appendID appends the canonical form of an _id.
func appendID(b []byte, v bson.RawValue) []byte {
	if v.Validate() != nil {
		return b
	}
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64:
		return appendIntegerID(b, v.AsInt64())
	case bson.TypeDouble:
		return appendDoubleID(b, v.Double())
	case bson.TypeDecimal128:
		return appendDecimalID(b, v)
	case bson.TypeString:
		text, ok := textBytes(v)
		if !ok {
			return b
		}
		return append(append(b, idString), text...)
	case bson.TypeSymbol:
		text, ok := v.SymbolOK()
		if !ok {
			return b
		}
		return append(append(b, idString), text...)
	}
	return appendRawID(b, v)
}

func appendRawID(b []byte, v bson.RawValue) []byte {
	return append(append(b, byte(v.Type)), v.Value...)
}

func appendIntegerID(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, idInteger), uint64(n))
}

// twoTo63 is the smallest positive double that is too large for an int64.
const twoTo63 = float64(1 << 63)

func appendDoubleID(b []byte, f float64) []byte {
	if f == math.Trunc(f) && f >= -twoTo63 && f < twoTo63 {
		return appendIntegerID(b, int64(f))
	}
	if math.IsNaN(f) {
		f = math.NaN()
	}
	return binary.BigEndian.AppendUint64(append(b, idDouble), math.Float64bits(f))
}

// decimalDigits is the precision of Decimal128. A value with more digits is not
// valid, but its bytes can occur.
const decimalDigits = 34

func appendDecimalID(b []byte, v bson.RawValue) []byte {
	d := v.Decimal128()
	if d.IsNaN() {
		return appendDoubleID(b, math.NaN())
	}
	if sign := d.IsInf(); sign != 0 {
		return appendDoubleID(b, math.Inf(sign))
	}
	coefficient, exponent, err := d.BigInt()
	if err != nil || len(new(big.Int).Abs(coefficient).String()) > decimalDigits {
		return appendRawID(b, v)
	}
	coefficient, exponent = stripZeros(coefficient, exponent)
	if n, ok := asInt64(coefficient, exponent); ok {
		return appendIntegerID(b, n)
	}
	if f, ok := asDouble(coefficient, exponent); ok {
		return appendDoubleID(b, f)
	}
	normal, ok := bson.ParseDecimal128FromBigInt(coefficient, exponent)
	if !ok {
		return appendRawID(b, v)
	}
	return append(append(b, idDecimal), normal.String()...)
}

// stripZeros removes trailing zeros from the coefficient and raises the
// exponent instead.
func stripZeros(coefficient *big.Int, exponent int) (*big.Int, int) {
	if coefficient.Sign() == 0 {
		return coefficient, 0
	}
	ten, rest := big.NewInt(10), new(big.Int)
	for {
		quotient, _ := new(big.Int).QuoRem(coefficient, ten, rest)
		if rest.Sign() != 0 {
			return coefficient, exponent
		}
		coefficient, exponent = quotient, exponent+1
	}
}

// asInt64 expects a coefficient without trailing zeros, so that a negative
// exponent means a fraction.
func asInt64(coefficient *big.Int, exponent int) (int64, bool) {
	// 10^19 is larger than the largest int64
	if exponent < 0 || exponent > 18 {
		return 0, false
	}
	n := new(big.Int).Mul(coefficient, powerOfTen(exponent))
	return n.Int64(), n.IsInt64()
}

// asDouble reports whether a double has exactly this value.
func asDouble(coefficient *big.Int, exponent int) (float64, bool) {
	// the largest double is 1.8E308, and the smallest, 2^-1074, has 1074
	// decimals
	if exponent > 308 || exponent < -1074 {
		return 0, false
	}
	ratio := new(big.Rat).SetInt(coefficient)
	if exponent >= 0 {
		ratio.Mul(ratio, new(big.Rat).SetInt(powerOfTen(exponent)))
	} else {
		ratio.Quo(ratio, new(big.Rat).SetInt(powerOfTen(-exponent)))
	}
	return ratio.Float64()
}

func powerOfTen(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// errNoID means that no stored document can have an _id with this form.
var errNoID = errors.New("no document has such an _id")

// IDValue is the inverse of ID. It returns a value for a filter: MongoDB treats
// it as equal to every value with this form. An error means that no stored
// document has such an _id.
func (s Schema) IDValue(id apikey.DocID) (bson.RawValue, error) { return idValue(id) }

// idValue is the implementation of IDValue, which does not depend on the
// Schema.
func idValue(id apikey.DocID) (bson.RawValue, error) {
	if id == "" {
		return bson.RawValue{}, errNoID
	}
	tag, rest := id[0], id[1:]
	switch {
	case tag == idString:
		return marshalled(string(rest))
	case tag == idInteger && len(rest) == 8:
		return marshalled(int64(binary.BigEndian.Uint64([]byte(rest))))
	case tag == idDouble && len(rest) == 8:
		return marshalled(math.Float64frombits(binary.BigEndian.Uint64([]byte(rest))))
	case tag == idDecimal:
		if d, err := bson.ParseDecimal128(string(rest)); err == nil {
			return marshalled(d)
		}
	}
	v := bson.RawValue{Type: bson.Type(tag), Value: []byte(rest)}
	return v, checkFilterValue(v)
}

func marshalled(value any) (bson.RawValue, error) {
	t, data, err := bson.MarshalValue(value)
	return bson.RawValue{Type: t, Value: data}, err
}

// checkFilterValue rejects values that a filter would not take as an equality
// match: a regular expression, and a document that begins with an operator. No
// stored document has such an _id.
func checkFilterValue(v bson.RawValue) error {
	if v.Validate() != nil {
		return errNoID
	}
	switch v.Type {
	case bson.TypeRegex, bson.TypeArray, bson.TypeUndefined:
		return errNoID
	case bson.TypeEmbeddedDocument:
		document, ok := v.DocumentOK()
		if !ok {
			return errNoID
		}
		if first, err := document.IndexErr(0); err == nil && strings.HasPrefix(first.Key(), "$") {
			return errNoID
		}
	}
	return nil
}

// maxIDText is the maximum length of an _id in a log line.
const maxIDText = 128

// idForLog returns the text of an _id that is of a type that key ids cannot
// have, so that a person can find the document: Extended JSON, shortened,
// without control characters.
func idForLog(v bson.RawValue) string {
	if v.Validate() != nil {
		return unknownID
	}
	text, err := bson.MarshalExtJSON(bson.D{{Key: idField, Value: v}}, false, false)
	if err != nil {
		return v.Type.String()
	}
	return printable(string(text))
}

func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
	if len(text) <= maxIDText {
		return text
	}
	return strings.ToValidUTF8(text[:maxIDText], "") + "…"
}

// IDText returns an _id in the form of key_id in responses. False: a key cannot
// have this _id, so no document with it was ever VALID. (The canonical form
// does not keep which of two equal values it was: 7.0 becomes 7.)
func IDText(id apikey.DocID) (string, bool) {
	v, err := idValue(id)
	if err != nil {
		return "", false
	}
	text, problem := readID(&memory{}, v)
	return text, problem == ""
}
