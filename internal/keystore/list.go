package keystore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/mongoclient"
)

// ErrCursor means that a list cannot continue from this cursor: it is not a
// valid cursor, or it belongs to a list with another filter.
var ErrCursor = errors.New("this cursor does not belong to this list")

// ErrSlowList means that the server did not finish a list in the time that it was
// given, most likely because no index serves the list. The text of the error has the
// command that creates one.
var ErrSlowList = errors.New("the list takes too long")

// Query selects which keys a list contains. A key must meet all conditions.
type Query struct {
	// UserID, OrgID and ProjectID limit the list to the keys of one user,
	// organisation or project. Empty: all.
	UserID, OrgID, ProjectID string
	// IncludeInactive includes keys that are switched off.
	IncludeInactive bool
	// UnusedFor limits the list to keys that were created, and not used, in this
	// time before Now. Zero: all.
	UnusedFor time.Duration
	// ExpiresWithin limits the list to keys that have not expired at Now, and
	// will within this time. Zero: all.
	ExpiresWithin time.Duration
	// Now is needed by the two durations only.
	Now time.Time
	// After is the Next of the previous page. Empty: the first page.
	After string
	// Limit is the maximum number of keys of a page. Required. A page of large documents
	// has fewer.
	Limit int
}

// Page is a part of a list.
type Page struct {
	Keys []Details
	// Next is the cursor of the next page. Empty: this is the last page.
	Next string
}

// List reads keys from the newest to the oldest: by the creation time, where
// the mapping has one, and by _id. The order is MongoDB's order over all types,
// so a list is complete for all values of the fields, with one exception: a
// creation time that is an array, which MongoDB sorts by one value and compares
// by another. Without an index on the two fields (PrepareListIndex), the server
// sorts the collection for each page, on its disk if it does not fit into
// memory: up to MongoDB 5.0, a query has to allow that. ctx must have a deadline,
// and the server gets a little less time, so that a slow list is ErrSlowList and
// not a server that does not answer. If the mapping lacks a field that the query
// needs, the error is ErrCannotStore.
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	filter, err := s.schema.filterOf(q)
	if err != nil {
		return Page{}, err
	}
	if q.After != "" {
		at, err := parseCursor(q)
		if err != nil {
			return Page{}, err
		}
		filter = append(filter, s.schema.afterPosition(at)...)
	}
	// One more than the page has, to see whether there is another page.
	find := options.Find().
		SetSort(s.schema.newestFirst()).
		SetLimit(int64(q.Limit) + 1).
		SetAllowDiskUse(true)
	if err := withMaxTimeOf(ctx, find, listShare); err != nil {
		return Page{}, err
	}
	cursor, err := s.keys.Find(ctx, filter, mongoclient.WithComment(ctx, find))
	if err != nil {
		return Page{}, s.explainList(q, err)
	}
	found, more, err := readPage(ctx, cursor, q.Limit)
	if err != nil {
		return Page{}, s.explainList(q, err)
	}
	var page Page
	if more {
		page.Next = s.schema.cursor(found[len(found)-1], q)
	}
	for _, raw := range found {
		if shown := s.schema.Details(raw); q.belongs(&shown.Record) {
			page.Keys = append(page.Keys, shown)
		}
	}
	return page, nil
}

// maxPage bounds the documents of a page, in bytes: hundreds of documents of the largest
// size, 16 MiB, would not fit into memory. A page has at least one.
const maxPage = 4 << 20

// readPage reads a page, and reports whether more keys follow it.
func readPage(ctx context.Context, cursor *mongo.Cursor, limit int) (found []bson.Raw, more bool, err error) {
	defer func() { _ = cursor.Close(ctx) }() // what was read is complete
	size := 0
	for cursor.Next(ctx) {
		size += len(cursor.Current)
		if len(found) == limit || len(found) > 0 && size > maxPage {
			return found, true, nil
		}
		found = append(found, bytes.Clone(cursor.Current))
	}
	return found, false, cursor.Err()
}

// listShare is the part of a call's time that the server gets for a list.
const listShare = 0.9

// explainList is explain with ErrSlowList.
func (s *Store) explainList(q Query, err error) error {
	if !hasCode(err, codeMaxTimeMSExpired) {
		return s.explain("listing the keys", err)
	}
	return explained(ErrSlowList, "MongoDB did not finish the list of keys in time: select fewer keys, or create an index that serves it, such as db.getCollection(%q).createIndex({%s})",
		s.schema.Collection, s.schema.listIndexFor(q))
}

// listIndexFor returns the keys of an index that serves a list.
func (s Schema) listIndexFor(q Query) string {
	order := "_id: -1"
	if s.CreatedAt != "" {
		order = fmt.Sprintf("%q: -1, _id: -1", s.CreatedAt)
	}
	switch {
	case q.UserID != "":
		return fmt.Sprintf("%q: 1, %s", s.UserID, order)
	case q.OrgID != "":
		return fmt.Sprintf("%q: 1, %s", s.OrgID, order)
	case q.ProjectID != "":
		return fmt.Sprintf("%q: 1, %s", s.ProjectID, order)
	case q.ExpiresWithin != 0:
		return fmt.Sprintf("%q: 1", s.ExpiresAt)
	case q.UnusedFor != 0:
		return fmt.Sprintf("%q: 1", s.LastUsed)
	}
	return order
}

func (s Schema) newestFirst() bson.D {
	if s.CreatedAt == "" {
		return bson.D{{Key: idField, Value: -1}}
	}
	return bson.D{{Key: s.CreatedAt, Value: -1}, {Key: idField, Value: -1}}
}

// afterPosition matches the documents after a position in the list. The
// comparison operators of an aggregation compare values of all types, those of
// a query only values of the same type. They use no index here, so a query
// operator precedes them: it leaves out the values of the position's type that
// come before it, and an index in the order of the list is read from the position
// on, and not from its beginning.
func (s Schema) afterPosition(at position) bson.D {
	first, value := s.CreatedAt, at.CreatedAt
	if first == "" {
		first, value = idField, at.ID
	}
	exactly := bson.E{Key: "$expr", Value: s.isAfter(at)}
	if !hasBound(value) {
		return bson.D{exactly}
	}
	return bson.D{{Key: first, Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$gt", Value: value}}}}}, exactly}
}

// hasBound reports whether $gt finds exactly the values of this type that the order
// of lists has before the value. ($gt of null finds nothing, and some other types
// cannot be compared.)
func hasBound(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeDateTime, bson.TypeObjectID, bson.TypeString, bson.TypeInt32, bson.TypeInt64:
		return true
	default:
		return false
	}
}

func (s Schema) isAfter(at position) bson.D {
	less := func(operator, field string, than any) bson.D {
		// An absent field is sorted like null.
		value := bson.D{{Key: "$ifNull", Value: bson.A{"$" + field, nil}}}
		return bson.D{{Key: operator, Value: bson.A{value, bson.D{{Key: "$literal", Value: than}}}}}
	}
	byID := less("$lt", idField, at.ID)
	if s.CreatedAt == "" {
		return byID
	}
	return bson.D{{Key: "$or", Value: bson.A{
		less("$lt", s.CreatedAt, at.CreatedAt),
		bson.D{{Key: "$and", Value: bson.A{less("$eq", s.CreatedAt, at.CreatedAt), byID}}},
	}}}
}

// position is a place in a list, and identifies the list.
type position struct {
	CreatedAt bson.RawValue `bson:"c"`
	ID        bson.RawValue `bson:"i"`
	List      []byte        `bson:"l"`
}

// CursorAfter returns the cursor of the page that follows this key of a list.
func (s Schema) CursorAfter(last Details, q Query) string { return s.cursor(last.raw, q) }

// cursor returns the position after this key, as text.
func (s Schema) cursor(last bson.Raw, q Query) string {
	at := position{s.lookup(last, s.CreatedAt), last.Lookup(idField), q.digest()}
	if at.CreatedAt.Type == 0 {
		at.CreatedAt = bson.RawValue{Type: bson.TypeNull}
	}
	data, err := bson.Marshal(at)
	if err != nil {
		return "" // not possible: the values come from a document
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func parseCursor(q Query) (position, error) {
	var at position
	data, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil || bson.Raw(data).Validate() != nil || bson.Unmarshal(data, &at) != nil {
		return position{}, ErrCursor
	}
	if string(at.List) != string(q.digest()) || checkFilterValue(at.ID) != nil || at.CreatedAt.Validate() != nil {
		return position{}, ErrCursor
	}
	return at, nil
}
