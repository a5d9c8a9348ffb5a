package keystore

import (
	"bytes"
	"encoding/binary"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// lengthBytes is the size of the length at the beginning of a document.
const lengthBytes = 4

// walker walks over the elements of a document or an array in place. The
// driver's Elements makes a list of them, which takes several times as long.
type walker struct {
	// rest begins with the next element. left is how many bytes of the document
	// are left, with its last one, which is zero.
	rest []byte
	left int
}

// walk begins a walk. False: doc is too short to have a length, or the length
// is negative.
func walk(doc []byte) (walker, bool) {
	if len(doc) < lengthBytes {
		return walker{}, false
	}
	length := int32(binary.LittleEndian.Uint32(doc))
	return walker{rest: doc[lengthBytes:], left: int(length) - lengthBytes}, length >= 0
}

// walkDocument begins a walk over a document of which nothing is known yet. If
// next then returns all elements and isClosed is true, the document is what the
// driver's Validate takes for valid.
func walkDocument(doc []byte) (walker, bool) {
	const shortest = lengthBytes + 1
	w, ok := walk(doc)
	length := w.left + lengthBytes
	if !ok || length < shortest || length > len(doc) || doc[length-1] != 0 {
		return walker{}, false
	}
	return w, true
}

// more reports whether there is another element.
func (w *walker) more() bool { return w.left > 1 }

// isClosed reports, after the last element, whether the document ends there.
func (w *walker) isClosed() bool { return len(w.rest) > 0 && w.rest[0] == 0 }

// next returns the next element. Its name and value are views of the document.
// False: it is not well-formed. The elements of an embedded document or array
// are not looked at.
func (w *walker) next() (name []byte, v bson.RawValue, ok bool) {
	if len(w.rest) == 0 {
		return nil, bson.RawValue{}, false
	}
	end := bytes.IndexByte(w.rest[1:], 0)
	if end < 0 {
		return nil, bson.RawValue{}, false
	}
	name = w.rest[1 : 1+end]
	value, rest, ok := bsoncore.ReadValue(w.rest[2+end:], bsoncore.Type(w.rest[0]))
	if !ok {
		return nil, bson.RawValue{}, false
	}
	w.left -= len(w.rest) - len(rest)
	w.rest = rest
	return name, bson.RawValue{Type: bson.Type(value.Type), Value: value.Data}, true
}

// countValues returns the number of an array's elements. False: one of them is
// not well-formed.
func countValues(array []byte) (n int, ok bool) {
	w, ok := walk(array)
	for ok && w.more() {
		_, _, ok = w.next()
		n++
	}
	return n, ok
}
