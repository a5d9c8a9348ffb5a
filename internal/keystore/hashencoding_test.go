package keystore

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/keytail/keytail/internal/apikey"
)

// TestHashEncodingsAreTheKnownOnes compares each encoding with the output of
// another program: printf keytail | sha256sum, and the same through base64.
func TestHashEncodingsAreTheKnownOnes(t *testing.T) {
	t.Parallel()
	hash := apikey.HashOf("keytail")
	for encoding, want := range map[HashEncoding]any{
		"":               "ed84883e2fca803b923209a36023320b2d6c9a5903d94c458bb759232666f3ca",
		HashHex:          "ed84883e2fca803b923209a36023320b2d6c9a5903d94c458bb759232666f3ca",
		HashHexUpper:     "ED84883E2FCA803B923209A36023320B2D6C9A5903D94C458BB759232666F3CA",
		HashBase64:       "7YSIPi/KgDuSMgmjYCMyCy1smlkD2UxFi7dZIyZm88o=",
		HashBase64Raw:    "7YSIPi/KgDuSMgmjYCMyCy1smlkD2UxFi7dZIyZm88o",
		HashBase64URL:    "7YSIPi_KgDuSMgmjYCMyCy1smlkD2UxFi7dZIyZm88o=",
		HashBase64URLRaw: "7YSIPi_KgDuSMgmjYCMyCy1smlkD2UxFi7dZIyZm88o",
		HashBinary:       bson.Binary{Data: hash[:]},
	} {
		if got := encoding.stored(hash); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", encoding, got, want)
		}
	}
}

func TestEachEncodingReadsWhatItStoresAndNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hash := apikey.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		for _, writer := range HashEncodings() {
			kind, data, err := bson.MarshalValue(writer.stored(hash))
			if err != nil {
				t.Fatal(err)
			}
			value := bson.RawValue{Type: kind, Value: data}
			for _, reader := range HashEncodings() {
				got, ok := reader.read(value)
				if same := reflect.DeepEqual(reader.stored(hash), writer.stored(hash)); ok != same {
					t.Fatalf("%s written as %s, read as %s: %v, want %v", hash.Hex(), writer, reader, ok, same)
				}
				if ok && got != hash {
					t.Fatalf("%s reads another hash than %s wrote", reader, writer)
				}
			}
		}
	})
}

// TestUnfindableHashesAreNotRead: each is a text that a decoder of the standard
// library would accept, or is nearly the hash.
func TestUnfindableHashesAreNotRead(t *testing.T) {
	t.Parallel()
	// Its last byte makes the last digit of base64 end in two spare bits
	hash := apikey.Hash(bytes.Repeat([]byte{0xfb}, 32))
	lower, base := hash.Hex(), base64.StdEncoding.EncodeToString(hash[:])
	stray := base[:42] + string(base[42]+1)
	for name, value := range map[string]any{
		"mixed case":          strings.ToUpper(lower[:1]) + lower[1:],
		"short":               lower[:62],
		"long":                lower + "00",
		"space":               lower + " ",
		"base64, line break":  base[:20] + "\n" + base[20:],
		"base64, stray bits":  stray + "=",
		"base64, raw stray":   stray,
		"base64, 31 bytes":    base64.StdEncoding.EncodeToString(hash[:31]),
		"base64, both digits": strings.Replace(base, "+", "-", 1),
		"empty":               "",
		"symbol":              bson.Symbol(lower),
		"binary, old":         bson.Binary{Subtype: 2, Data: hash[:]},
		"binary, user":        bson.Binary{Subtype: 0x80, Data: hash[:]},
		"binary, 31":          bson.Binary{Data: hash[:31]},
		"binary, 33":          bson.Binary{Data: append(hash[:], 0)},
		"array":               bson.A{lower},
		"null":                nil,
	} {
		for _, encoding := range append(HashEncodings(), "") {
			if _, ok := encoding.read(rawValue(t, value)); ok {
				t.Errorf("%s is read as %q", name, encoding)
			}
		}
	}
	if _, ok := HashBase64.read(bson.RawValue{}); ok {
		t.Error("a value that is not there is read")
	}
}
