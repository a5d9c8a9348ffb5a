package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
)

// cursorOf is a cursor over n documents, with err after them, and what is decoded
// from it. One in 400 documents is as large as several chunks.
func cursorOf(t *testing.T, n int, err error) (*mongo.Cursor, []Document) {
	t.Helper()
	all := make([]any, n)
	want := make([]Document, n)
	for i := range n {
		changes := []bson.E{{Key: "_id", Value: i}, {Key: "key_hash", Value: apikey.HashOf(fmt.Sprint(i)).Hex()}, {Key: "scopes", Value: bson.A{fmt.Sprint("a:", i)}}}
		if i%400 == 50 {
			changes = append(changes, bson.E{Key: "other", Value: bytes.Repeat([]byte{1}, 3*chunkBytes)})
		}
		doc := document(t, changes...)
		all[i], want[i] = doc, DefaultSchema().Decode(doc)
	}
	cursor, newErr := mongo.NewCursorFromDocuments(all, err, nil)
	if newErr != nil {
		t.Fatal(newErr)
	}
	return cursor, want
}

// errDied is the error of a cursor.
var errDied = errors.New("the cursor died")

func TestAScanHandsOnEveryDocumentInOrder(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, chunkDocuments, chunkDocuments + 1, 1500} {
		cursor, want := cursorOf(t, n, nil)
		s := &Store{schema: DefaultSchema()}
		got := make([]Document, 0, n)
		readErr, err := s.readAll(t.Context(), cursor, func(d *Document) error {
			got = append(got, *d)
			return nil
		})
		if err != nil || readErr != nil {
			t.Fatal(readErr, err)
		}
		if diff := cmp.Diff(want, got, compareRecords); diff != "" {
			t.Errorf("%d documents: %s", n, diff)
		}
	}
}

func TestAScanReportsThatItsCursorFailed(t *testing.T) {
	t.Parallel()
	cursor, _ := cursorOf(t, 3, errDied)
	s := &Store{schema: DefaultSchema()}
	if readErr, err := s.readAll(t.Context(), cursor, func(*Document) error { return nil }); !errors.Is(readErr, errDied) || err != nil {
		t.Errorf("got %v and %v", readErr, err)
	}
}

// A scan that ends early must stop its goroutines, wherever they are: goleak would
// report them.
func TestAScanThatEndsEarlyStops(t *testing.T) {
	t.Parallel()
	for _, at := range []int{0, 51, chunkDocuments, 1400} {
		cursor, _ := cursorOf(t, 1500, nil)
		s, seen := &Store{schema: DefaultSchema()}, 0
		enough := errors.New("enough")
		readErr, err := s.readAll(t.Context(), cursor, func(*Document) error {
			if seen++; seen > at {
				return enough
			}
			return nil
		})
		if readErr != nil || !errors.Is(err, enough) || seen != at+1 {
			t.Errorf("at %d: %v and %v after %d documents", at, readErr, err, seen)
		}
		cursor, _ = cursorOf(t, 1500, nil)
		ctx, cancel := context.WithCancel(t.Context())
		seen = 0
		readErr, err = s.readAll(ctx, cursor, func(*Document) error {
			if seen++; seen > at {
				cancel()
			}
			return nil
		})
		cancel()
		if err != nil || readErr == nil && seen != 1500 || readErr != nil && !errors.Is(readErr, context.Canceled) {
			t.Errorf("cancelled at %d: %v and %v after %d documents", at, readErr, err, seen)
		}
	}
}

// TestAScanThatEndsStopsAReaderThatWaits: the cursor has more documents than there
// are chunks for, so the reader waits for a free one when the scan ends.
func TestAScanThatEndsStopsAReaderThatWaits(t *testing.T) {
	t.Parallel()
	doc := document(t)
	all := make([]any, (chunks+2)*chunkDocuments)
	for i := range all {
		all[i] = doc
	}
	cursor, err := mongo.NewCursorFromDocuments(all, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	s := &Store{schema: DefaultSchema()}
	if _, err := s.readAll(t.Context(), cursor, func(*Document) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}
