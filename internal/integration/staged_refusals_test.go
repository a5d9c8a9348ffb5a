package integration

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// refusalAnomalies are updates whose events say that the key is off or has expired, while something
// else about the key is not what its entry says. A refusal from the event would be wrong.
func refusalAnomalies() []anomaly {
	off := bson.E{Key: "is_active", Value: false}
	moved := bson.E{Key: "key_hash", Value: apikey.HashOf("another key").Hex()}
	return []anomaly{
		{
			name:    "switched off and moved in one update",
			shows:   []string{"RefusalPlain"},
			covered: []string{"RefusalAlone"},
			stage:   updatedSettled(bson.D{{Key: "$set", Value: bson.D{off, moved}}}, apikey.NotFound),
		},
		{
			name:    "switched off and moved in two updates",
			shows:   []string{"RefusalAlone"},
			covered: []string{"RefusalLast", "RefusalOwner"},
			stage:   onParts(movedThenOff), scopes: noStream,
		},
		{
			name:    "switched off and on again",
			shows:   []string{"RefusalLast"},
			covered: []string{"RefusalAlone", "RefusalOwner"},
			stage:   onParts(offThenOn), scopes: noStream,
		},
		{
			name:    "switched off, deleted and inserted again",
			shows:   []string{"RefusalLast"},
			covered: []string{"RefusalAlone", "RefusalOwner"},
			stage:   onParts(offThenDeleted), scopes: noStream,
		},
		{
			name:    "two documents in one slot",
			shows:   []string{"RefusalOwner"},
			covered: []string{"RefusalAlone", "RefusalLast"},
			stage:   onPartsWith(keycache.Config{Slots: 1}, anotherOff), scopes: noStream,
		},
		{
			name:    "expiry moved before a later update that a read has seen",
			shows:   []string{"RefusalDue+RefusalSettled"},
			covered: []string{"RefusalDue", "RefusalSettled"},
			stage:   onParts(expiresLater), scopes: noStream,
		},
		{
			name:    "switched off before a hash that a read has seen",
			shows:   []string{"RefusalSettled"},
			covered: []string{"RefusalAlone", "RefusalLast"},
			stage:   onParts(offBeforeHash), scopes: noStream,
		},
		{name: "switched off after a loss", shows: []string{"SameEpoch"}, covered: []string{"RefusalAlone"}, stage: onParts(offAfterLoss), scopes: noStream},
		{name: "switched off, and a second document has the hash", shows: []string{"ByHash"}, covered: []string{"RefusalAlone"}, stage: onParts(offAndShared), scopes: noStream},
	}
}

// updatedSettled stages an update of a cached key, after a heartbeat that was sent when the key was
// cached already.
func updatedSettled(update any, want apikey.Code) stage {
	return func(t *testing.T, scope string) string {
		r, _ := stagedService(t, scope, devmongo.Config{})
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		r.validateSince(k, time.Now())
		if _, err := r.keys.UpdateByID(t.Context(), k.id, update); err != nil {
			t.Fatal(err)
		}
		return violation(r.validateSince(k, time.Now()), want)
	}
}

// put writes a document at the next cluster time, without an event. Nil: no document has the hash.
func (p *parts) put(record *apikey.Record) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.now++
	p.versions[p.now] = keystore.Document{}
	if record != nil {
		record.KeyID, record.UserID = string(partsID), "user-1"
		p.versions[p.now] = keystore.Document{ID: partsID, Hash: p.hash, HasHash: true, Record: *record}
	}
}

// says applies the update of now, whose event says this.
func (p *parts) says(says apikey.Refusal) {
	p.apply(keycache.Change{ID: partsID, Refusal: says})
}

func (p *parts) apply(change keycache.Change) {
	change.Time = p.now
	p.cache.Apply(&change)
	p.fresh()
}

var off = apikey.Refusal{Off: true}

// cachedKey writes the key, opens the stream, caches the key, and makes the stream fresh again.
func (p *parts) cachedKey() {
	p.write(true)
	p.open()
	if w := violation(p.validate(), apikey.Valid); w != "" {
		p.t.Fatal(w)
	}
	p.fresh()
}

// movedThenOff: the event of the second update says nothing of the hash, which the first has moved.
func movedThenOff(p *parts) string {
	p.cachedKey()
	p.put(nil)
	p.apply(keycache.Change{ID: partsID, Hashes: []apikey.Hash{apikey.HashOf("another key")}})
	p.put(nil)
	p.says(off)
	return violation(p.validate(), apikey.NotFound)
}

func offThenOn(p *parts) string {
	p.cachedKey()
	p.put(&apikey.Record{})
	p.says(off)
	if w := violation(p.validate(), apikey.Disabled); w != "" {
		return w
	}
	p.write(true)
	p.says(apikey.Refusal{})
	return violation(p.validate(), apikey.Valid)
}

func offThenDeleted(p *parts) string {
	p.cachedKey()
	p.put(&apikey.Record{})
	p.says(off)
	p.put(nil)
	p.apply(keycache.Change{ID: partsID})
	if w := violation(p.validate(), apikey.NotFound); w != "" {
		return w
	}
	p.write(true)
	p.apply(keycache.Change{ID: partsID, Hash: p.hash, HasHash: true, Record: &apikey.Record{KeyID: string(partsID), UserID: "user-1", Active: true}})
	return violation(p.validate(), apikey.Valid)
}

// anotherOff: the only slot has the change of another document.
func anotherOff(p *parts) string {
	p.cachedKey()
	p.apply(keycache.Change{ID: "another document", Refusal: off})
	return violation(p.validate(), apikey.Valid)
}

// expiresLater: the expiry of a key that is off is moved into the future, and then the key is switched
// on and its expiry moved into the past. A read has seen both, the stream has delivered the first.
// The key was never valid.
func expiresLater(p *parts) string {
	p.put(&apikey.Record{})
	p.open()
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	first := p.now + 1
	p.put(&apikey.Record{ExpiresAt: future})
	p.put(&apikey.Record{Active: true, ExpiresAt: past})
	if w := violation(p.validate(), apikey.Expired); w != "" {
		p.t.Fatal(w)
	}
	p.cache.Apply(&keycache.Change{ID: partsID, Time: first, Refusal: apikey.Refusal{Expires: true, ExpiresAt: future}})
	p.fresh()
	return violation(p.validate(), apikey.Expired)
}

// offBeforeHash: a document is switched off, and then gets the key's hash and is switched on. A read
// has seen both, the stream has delivered the first. The key was never off.
func offBeforeHash(p *parts) string {
	p.open()
	p.put(nil)
	first := p.now
	p.write(true)
	if w := violation(p.validate(), apikey.Valid); w != "" {
		p.t.Fatal(w)
	}
	p.cache.Apply(&keycache.Change{ID: partsID, Time: first, Refusal: off})
	p.fresh()
	return violation(p.validate(), apikey.Valid)
}

// offAfterLoss: the hash moves away while the history is lost.
func offAfterLoss(p *parts) string {
	p.cachedKey()
	p.cache.Lose()
	p.put(nil)
	p.open()
	p.put(nil)
	p.says(off)
	return violation(p.validate(), apikey.NotFound)
}

// offAndShared: a read finds two documents with the hash, and reports that.
func offAndShared(p *parts) string {
	p.cachedKey()
	p.put(&apikey.Record{})
	p.says(off)
	p.put(&apikey.Record{Defect: "another document has the same hash", DefectReason: apikey.ReasonSharedHash})
	p.apply(keycache.Change{ID: "another document", Hashes: []apikey.Hash{p.hash}})
	if v := p.validate(); v.Reason.Kind != apikey.ReasonSharedHash {
		return "the reason is " + v.Reason.String() + " although two documents have the hash"
	}
	return ""
}
