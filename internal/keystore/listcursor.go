package keystore

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// position is a place in a list, and identifies the list.
type position struct {
	// CreatedAt is null for a document or a mapping without one.
	CreatedAt bson.RawValue `bson:"c"`
	ID        bson.RawValue `bson:"i"`
	List      []byte        `bson:"l"`
}

// rangesAfter returns filters that together find the documents after a position in the
// list, which descends. Each of them is a range of an index in the order of the list, so
// the server can merge what they find without sorting it.
func (s Schema) rangesAfter(at position) []bson.D {
	byID := rangesBefore(idField, at.ID)
	if s.CreatedAt == "" {
		return byID
	}
	ranges := rangesBefore(s.CreatedAt, at.CreatedAt)
	for _, r := range byID {
		ranges = append(ranges, allOf(sameAs(s.CreatedAt, at.CreatedAt), r))
	}
	return ranges
}

// positionOf returns the position of a document. False: a list cannot continue after it.
func (s Schema) positionOf(doc bson.Raw, q Query) (position, bool) {
	at := position{s.lookup(doc, s.CreatedAt), doc.Lookup(idField), s.listDigest(q)}
	if at.CreatedAt.Type == 0 {
		at.CreatedAt = bson.RawValue{Type: bson.TypeNull}
	}
	return at, isPosition(at.CreatedAt) && isPosition(at.ID)
}

// CursorAfter returns the cursor of the page that follows these keys of a list. If the list
// cannot continue after the last ones, it continues with them. If it can after none, the
// error is ErrCannotStore.
func (s Schema) CursorAfter(keys []Details, q Query) (string, error) {
	found := make([]bson.Raw, len(keys))
	for i := range keys {
		found[i] = keys[i].raw
	}
	_, cursor, err := s.lastCursor(found, q)
	return cursor, err
}

// lastCursor returns the last of these documents after which a list can continue, and the
// position after it, as text.
func (s Schema) lastCursor(found []bson.Raw, q Query) (end int, cursor string, err error) {
	for end = len(found) - 1; end >= 0; end-- {
		at, ok := s.positionOf(found[end], q)
		if !ok {
			continue
		}
		data, err := bson.Marshal(at)
		return end, base64.RawURLEncoding.EncodeToString(data), err
	}
	last := found[len(found)-1].Lookup(idField)
	id, problem := readID(&memory{}, last)
	if problem != "" {
		id = idForLog(last)
	}
	return 0, "", explained(ErrCannotStore, "a list cannot continue after the key %s, because its %q is an array or undefined: store a date, or read larger pages", id, s.CreatedAt)
}

func (s Schema) parseCursor(q Query) (position, error) {
	var at position
	data, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil || bson.Raw(data).Validate() != nil || bson.Unmarshal(data, &at) != nil {
		return position{}, ErrCursor
	}
	if string(at.List) != string(s.listDigest(q)) || checkFilterValue(at.ID) != nil || !isPosition(at.ID) || !isPosition(at.CreatedAt) {
		return position{}, ErrCursor
	}
	return at, nil
}

// listVersion changes with the meaning of a position.
const listVersion = 2

// listDigest identifies a list: a caller that continued with the cursor of another
// list, or of the same one in another order, would miss keys without an error. It does
// not cover Now, so that a list can be continued later.
func (s Schema) listDigest(q Query) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %q %q %v %d %d", listVersion, s.CreatedAt, q.UserID, q.OrgID, q.ProjectID, q.IncludeInactive, q.UnusedFor, q.ExpiresWithin))
	const enough = 8
	return sum[:enough]
}
