package keystore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// HashEncoding is how a collection stores the 32 bytes of a hash. A
// lookup uses exactly one value, so one encoding is declared and the
// others are not read: a lookup would never find a document with another
// encoding.
type HashEncoding string

// The encodings. base64 is that of RFC 4648, section 4, base64url that of
// section 5; the raw ones have no padding.
const (
	HashHex          HashEncoding = "hex"
	HashHexUpper     HashEncoding = "hex-upper"
	HashBase64       HashEncoding = "base64"
	HashBase64Raw    HashEncoding = "base64-raw"
	HashBase64URL    HashEncoding = "base64url"
	HashBase64URLRaw HashEncoding = "base64url-raw"
	// HashBinary is BSON binary data of subtype 0, which is how drivers store
	// bytes. Binary data of another subtype is a different value for MongoDB.
	HashBinary HashEncoding = "binary"
)

// HashEncodings returns all encodings. The first is the default.
func HashEncodings() []HashEncoding {
	return []HashEncoding{HashHex, HashHexUpper, HashBase64, HashBase64Raw, HashBase64URL, HashBase64URLRaw, HashBinary}
}

// orDefault replaces the zero value by the default encoding.
func (e HashEncoding) orDefault() HashEncoding {
	if e == "" {
		return HashHex
	}
	return e
}

// description returns words that follow "is not a SHA-256 hash" (aHash).
func (e HashEncoding) description() string {
	switch e {
	case HashHexUpper:
		return "of 64 upper-case hex digits"
	case HashBase64, HashBase64Raw, HashBase64URL, HashBase64URLRaw:
		return "in " + string(e)
	case HashBinary:
		return "of 32 bytes of binary data (subtype 0)"
	case HashHex:
	}
	return "of 64 lower-case hex digits"
}

// stored returns the value of the hash field in the document with this hash.
func (e HashEncoding) stored(hash apikey.Hash) any {
	if e == HashBinary {
		return bson.Binary{Data: hash[:]}
	}
	return e.text(hash)
}

// read is the inverse of stored. It accepts exactly the values that stored
// returns.
func (e HashEncoding) read(v bson.RawValue) (apikey.Hash, bool) {
	if e == HashBinary {
		subtype, data, ok := v.BinaryOK()
		if !ok || subtype != bson.TypeBinaryGeneric || len(data) != len(apikey.Hash{}) {
			return apikey.Hash{}, false
		}
		return apikey.Hash(data), true
	}
	text, ok := textBytes(v)
	if !ok {
		return apikey.Hash{}, false
	}
	return e.parse(text)
}

func (e HashEncoding) text(hash apikey.Hash) string { return string(e.appendText(nil, &hash)) }

func (e HashEncoding) appendText(b []byte, hash *apikey.Hash) []byte {
	if base := e.base64(); base != nil {
		return base.AppendEncode(b, hash[:])
	}
	b = hex.AppendEncode(b, hash[:])
	if e == HashHexUpper {
		for i, c := range b {
			if c >= 'a' {
				b[i] = c - 'a' + 'A'
			}
		}
	}
	return b
}

// longestHash is the length of the longest text of a hash, which is in hex.
const longestHash = 2 * len(apikey.Hash{})

// parse accepts exactly what text returns. The decoders accept more (either
// case, line breaks, stray bits in the last character), hence the comparison.
// It allocates nothing.
func (e HashEncoding) parse(text []byte) (hash apikey.Hash, ok bool) {
	if len(text) > longestHash {
		return apikey.Hash{}, false
	}
	var decoded, again [longestHash]byte
	n, err := e.decode(decoded[:], text)
	if err != nil || n != len(hash) {
		return apikey.Hash{}, false
	}
	hash = apikey.Hash(decoded[:n])
	if !bytes.Equal(e.appendText(again[:0], &hash), text) {
		return apikey.Hash{}, false
	}
	return hash, true
}

func (e HashEncoding) decode(into, text []byte) (n int, err error) {
	if base := e.base64(); base != nil {
		return base.Decode(into, text)
	}
	return hex.Decode(into, text)
}

// base64 returns nil for an encoding that is not base64.
func (e HashEncoding) base64() *base64.Encoding {
	switch e {
	case HashBase64:
		return base64.StdEncoding
	case HashBase64Raw:
		return base64.RawStdEncoding
	case HashBase64URL:
		return base64.URLEncoding
	case HashBase64URLRaw:
		return base64.RawURLEncoding
	case HashHex, HashHexUpper, HashBinary:
	}
	return nil
}
