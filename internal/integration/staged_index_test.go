package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/preload"
)

// indexAnomalies are two documents with one hash, in a collection whose unique
// index has been dropped under a running service.
func indexAnomalies() []anomaly {
	return []anomaly{
		{name: "two documents with one hash", shows: []string{"TwoDocuments"}, stage: twoDocuments},
	}
}

// pair is one key with two documents, of which one is disabled: created in either order,
// the second one by one kind of change, with the first one cached or not.
type pair struct {
	first, second key
	validFirst    bool
	held          bool
	change        string
}

// twoDocuments validates such keys after each change, in a lazy and in a complete cache.
func twoDocuments(t *testing.T, scope string) string {
	var all []string
	for _, mode := range []preload.Mode{preload.Off, preload.On} {
		r := start(t, mongotest.StartDevmongo(t, devmongo.Config{}).InScope(scope), staged, func(c *daemon.Config) { c.Preload = mode })
		if err := r.keys.Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
			t.Fatal(err)
		}
		var pairs []pair
		for i := range 12 {
			pairs = append(pairs, r.firstOf(pair{validFirst: i%2 == 0, held: i%4 < 2, change: []string{"insert", "update", "replace"}[i/4]}))
		}
		for _, step := range []struct {
			after string
			do    func(p pair)
		}{
			{"the second document", r.secondOf},
			// An update is read by _id, which does not see the other document.
			{"an update of the first", func(p pair) { r.set(p.first, "name", "renamed") }},
			{"an update of the second", func(p pair) { r.set(p.second, "name", "renamed") }},
			{"a loss", nil},
		} {
			if step.do == nil {
				loseHistory(r, func() {})
			}
			for _, p := range pairs {
				if step.do != nil {
					step.do(p)
				}
			}
			all = append(all, r.neverValid(pairs, "preload "+string(mode)+", after "+step.after)...)
		}
	}
	return strings.Join(all, "; ")
}

// firstOf creates the first document.
func (r *fixture) firstOf(p pair) pair {
	r.t.Helper()
	p.first = r.newKey()
	p.second = key{id: p.first.id + "-again", text: p.first.text}
	if !p.validFirst {
		r.set(p.first, "is_active", false)
	}
	if p.held {
		r.waitUntilCached(p.first)
	}
	return p
}

// secondOf creates the second document, with the hash or with another hash that a change
// then replaces.
func (r *fixture) secondOf(p pair) {
	r.t.Helper()
	document := p.second.document()
	if p.validFirst {
		document = p.second.inactive()
	}
	byID := bson.D{{Key: "_id", Value: p.second.id}}
	var err error
	if p.change != "insert" {
		other := key{id: p.second.id, text: "another-key-" + p.second.id}
		_, err = r.keys.InsertOne(r.t.Context(), other.document())
	}
	switch {
	case err != nil:
	case p.change == "insert":
		_, err = r.keys.InsertOne(r.t.Context(), document)
	case p.change == "update":
		_, err = r.keys.UpdateOne(r.t.Context(), byID, bson.D{{Key: "$set", Value: document[1:]}})
	default:
		_, err = r.keys.ReplaceOne(r.t.Context(), byID, document)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// neverValid validates each key a few times, beginning with the first answer that must
// take the acknowledged writes into account.
func (r *fixture) neverValid(pairs []pair, when string) (all []string) {
	r.t.Helper()
	known := time.Now()
	for _, p := range pairs {
		for range 3 {
			if w := violation(r.validateSince(p.first, known), apikey.Disabled); w != "" {
				all = append(all, fmt.Sprintf("%s (valid first %v, cached %v, by %s): %s", when, p.validFirst, p.held, p.change, w))
				break
			}
		}
	}
	return all
}
