package integration

import (
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// hashAnomalies are documents that a lookup finds by a hash that is only a part of their
// hash field. A read returns DISABLED, and a complete cache must not return NOT_FOUND.
func hashAnomalies() []anomaly {
	return []anomaly{
		{name: "hash in an array before the scan", shows: []string{"MarkHashes"}, covered: []string{"StampHashes"}, stage: hashInArray(beforeScan, 1)},
		{name: "hash in an array after the scan", shows: []string{"StampHashes"}, covered: []string{"MarkHashes"}, stage: hashInArray(afterScan, 1)},
		{name: "hash that becomes an element", shows: []string{"StampHashes"}, covered: []string{"MarkHashes"}, stage: hashInArray(asElement, 1)},
		{name: "hash behind too many others", shows: []string{"AbsentUnread+StampHashes"}, covered: []string{"AbsentUnread", "StampHashes"}, stage: hashInArray(afterScan, keystore.MaxHashes+1)},
	}
}

// insertArray inserts a document with n hashes. The last one is k's.
func (r *fixture) insertArray(k key, n int) {
	r.t.Helper()
	hashes := bson.A{}
	for i := range n - 1 {
		hashes = append(hashes, apikey.HashOf(strconv.Itoa(i)).Hex())
	}
	r.withHash(append(hashes, apikey.HashOf(k.text).Hex()))
}

func beforeScan(r *fixture, k key, n int) func() {
	r.insertArray(k, n)
	return func() {}
}

func afterScan(r *fixture, k key, n int) func() {
	return func() { r.insertArray(k, n) }
}

func asElement(r *fixture, k key, _ int) func() {
	id := r.withHash(bson.A{apikey.HashOf("another key").Hex()})
	return func() { r.set(key{id: id}, "key_hash.1", apikey.HashOf(k.text).Hex()) }
}

// hashInArray validates, with a complete cache, a key whose hash is in an array. begin
// runs before the service starts; the returned function runs when the cache is complete.
func hashInArray(begin func(r *fixture, k key, n int) func(), n int) stage {
	return func(t *testing.T, scope string) string {
		k := key{id: "array", text: newText(t)}
		var change func()
		d := mongotest.StartDevmongo(t, devmongo.Config{})
		r := startSparse(t, d.InScope(scope), func(r *fixture) {
			r.newKey()
			change = begin(r, k, n)
		}, withFastHeartbeats)
		r.waitUntilComplete()
		change()
		return violation(r.validateSince(k, time.Now()), apikey.Disabled)
	}
}
