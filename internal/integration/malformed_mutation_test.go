package integration

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// element is an element of a document in a message. Its offsets are those of its type, its value and its end.
type element struct {
	kind, value, end int
	path             string
}

// elementsOf returns the elements of a document that begins at an offset, with those within them.
func elementsOf(message []byte, at int, path string) (all []element) {
	document, _, ok := bsoncore.ReadDocument(message[at:])
	rest := document
	for ok = ok && len(document) > 4; ok && len(rest) > 1; {
		if len(rest) == len(document) {
			rest = rest[4:]
		}
		var e bsoncore.Element
		here := at + len(document) - len(rest)
		if e, rest, ok = bsoncore.ReadElement(rest); !ok {
			break
		}
		found := element{here, here + len(e.Key()) + 2, here + len(e), path + "." + e.Key()}
		all = append(all, found)
		switch bson.Type(e[0]) {
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			all = append(all, elementsOf(message, found.value, found.path)...)
		}
	}
	return all
}

// bodyOf returns where the document of a reply begins.
func bodyOf(message []byte) int {
	if wiremessage.OpCode(binary.LittleEndian.Uint32(message[12:])) == wiremessage.OpReply {
		return 16 + 20
	}
	return 16 + 4 + 1
}

// mutation changes one element of a message, and returns what it has changed.
type mutation func(r *rand.Rand, message []byte, e element) (what string)

var mutations = []mutation{
	func(r *rand.Rand, message []byte, e element) string {
		message[e.kind] = byte(r.IntN(0x14))
		return "type"
	},
	// Another type of the same size.
	func(r *rand.Rand, message []byte, e element) string {
		for _, group := range [][]byte{{0x01, 0x09, 0x11, 0x12}, {0x02, 0x0d, 0x0e}, {0x03, 0x04}} {
			if slices.Contains(group, message[e.kind]) {
				message[e.kind] = group[r.IntN(len(group))]
			}
		}
		return "type of this size"
	},
	func(r *rand.Rand, message []byte, e element) string {
		if e.end-e.value < 4 {
			return ""
		}
		old := binary.LittleEndian.Uint32(message[e.value:])
		lengths := []uint32{0, 1, 2, 3, 4, 5, 1 << 31, 1<<31 - 1, 1<<32 - 1, old - 1, old + 1}
		binary.LittleEndian.PutUint32(message[e.value:], lengths[r.IntN(len(lengths))])
		return "length"
	},
	func(_ *rand.Rand, message []byte, e element) string {
		message[e.kind+1] ^= 1
		return "name"
	},
	func(r *rand.Rand, message []byte, e element) string {
		if kind := bson.Type(message[e.kind]); e.end == e.value || kind == bson.TypeEmbeddedDocument || kind == bson.TypeArray {
			return ""
		}
		message[e.value+r.IntN(e.end-e.value)] = byte(r.IntN(256))
		return "value"
	},
}

// times are fields whose values keytail and the driver must believe, because nobody else has them (docs/security.md,
// "What is not defended").
var times = []string{"lusterTime", "operationTime", "_data"}

// firstBatch is what no cursor may lack (the same section). Its elements are changed.
const firstBatch = ".cursor.firstBatch"

// mutate changes one element of a reply, and returns what it has changed, "" for nothing.
func mutate(r *rand.Rand, message []byte) string {
	all := slices.DeleteFunc(elementsOf(message, bodyOf(message), ""), func(e element) bool {
		return e.path == firstBatch || slices.ContainsFunc(times, func(name string) bool { return strings.Contains(e.path, name) })
	})
	if len(all) == 0 {
		return ""
	}
	e := all[r.IntN(len(all))]
	what := mutations[r.IntN(len(mutations))](r, message, e)
	if what == "" {
		return ""
	}
	return what + " of " + e.path
}
