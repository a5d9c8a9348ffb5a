package keystore

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/mongoclient"
)

// ErrCursor means that a list cannot continue from this cursor: it is not a
// valid cursor, or it belongs to a list with another filter or order, such as that of
// another version of keytail.
var ErrCursor = errors.New("this cursor does not belong to this list, or another version of keytail has made it: start again without a cursor")

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
// so a list is complete for all values of the fields. A key whose creation time is an
// array can be on several pages, because MongoDB sorts an array by one value and
// compares it by all; if no page can end before such keys, the error is ErrCannotStore.
//
// With the indexes of CheckListIndexes, each page is read from its position on, so that
// a whole list is one read of its part of an index, on a sharded cluster of that of each
// shard. (Documents of different shards with the same creation time and the same _id would
// be one position; keytail has one key for an _id.) Without them, the server reads and
// sorts the collection for each page, on its disk if it does not fit into
// memory: up to MongoDB 5.0, a query has to allow that. ctx must have a deadline,
// and the server gets a little less time, so that a slow list is ErrSlowList and
// not a server that does not answer. If the mapping lacks a field that the query
// needs, the error is ErrCannotStore.
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	filter, err := s.schema.pageFilter(q)
	if err != nil {
		return Page{}, err
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
		end, next, err := s.schema.lastCursor(found, q)
		if err != nil {
			return Page{}, err
		}
		found, page.Next = found[:end+1], next
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
	return explained(ErrSlowList, "MongoDB did not finish the list of keys in time: select fewer keys, or create an index that serves it, such as %s",
		s.schema.listIndexFor(q).command(s.schema.Collection))
}

func (s Schema) newestFirst() bson.D {
	if s.CreatedAt == "" {
		return bson.D{{Key: idField, Value: -1}}
	}
	return bson.D{{Key: s.CreatedAt, Value: -1}, {Key: idField, Value: -1}}
}
