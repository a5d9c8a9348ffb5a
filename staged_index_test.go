package keytail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// indexAnomalies are two documents with one hash, in a collection whose unique
// index has been dropped under a running service.
func indexAnomalies() []anomaly {
	return []anomaly{
		{name: "two documents with one hash", shows: []string{"TwoDocuments"}, stage: twoDocuments},
	}
}

// twoDocuments has one key in two documents of which one says no, made in either
// order, where the first one is held in memory and where it is not, in a lazy and in
// a complete cache.
func twoDocuments(t *testing.T, scope string) string {
	var all []string
	for _, preload := range []string{"off", "on"} {
		r := start(t, mongotest.StartDevmongo(t, devmongo.Config{}).InScope(scope), staged, func(c *keytail.Config) { c.Preload = preload })
		if err := r.keys.Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
			t.Fatal(err)
		}
		for _, validFirst := range []bool{true, false} {
			for _, held := range []bool{true, false} {
				for _, change := range []string{"insert", "update", "replace"} {
					if w := r.twoDocuments(validFirst, held, change); w != "" {
						all = append(all, fmt.Sprintf("preload %s, valid first %v, held %v, by %s: %s", preload, validFirst, held, change, w))
					}
				}
			}
		}
	}
	return strings.Join(all, "; ")
}

// twoDocuments makes the second document of a key, and asks for the key until an
// answer must know of both. Then the one that says no says it no more, which is
// another reason to read it.
func (r *rig) twoDocuments(validFirst, held bool, change string) string {
	r.t.Helper()
	first := r.newKey()
	second := key{id: first.id + "-again", text: first.text}
	document := second.inactive()
	if !validFirst {
		r.set(first, "is_active", false)
		document = second.document()
	}
	if held {
		r.held(first)
	}
	r.bringsIn(second, document, change)
	if w := r.never(first); w != "" {
		return w
	}
	// An update of either is read by _id, which does not see the other.
	r.set(first, "name", "renamed")
	if w := r.never(first); w != "" {
		return w
	}
	r.set(second, "name", "renamed")
	return r.never(first)
}

// bringsIn makes the document by one kind of change.
func (r *rig) bringsIn(k key, document bson.D, change string) {
	r.t.Helper()
	var err error
	if change != "insert" {
		other := key{id: k.id, text: "another-key-" + k.id}
		_, err = r.keys.InsertOne(r.t.Context(), other.document())
	}
	if err == nil {
		switch change {
		case "insert":
			_, err = r.keys.InsertOne(r.t.Context(), document)
		case "update":
			_, err = r.keys.UpdateByID(r.t.Context(), k.id, bson.D{{Key: "$set", Value: document[1:]}})
		default:
			_, err = r.keys.ReplaceOne(r.t.Context(), bson.D{{Key: "_id", Value: k.id}}, document)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// never asks a few times, from the first answer on that must know of what has been
// acknowledged.
func (r *rig) never(k key) string {
	r.t.Helper()
	known := time.Now()
	for range 3 {
		if w := wrong(r.since(k, known), apikey.Disabled); w != "" {
			return w
		}
	}
	return ""
}
