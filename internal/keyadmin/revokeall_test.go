package keyadmin

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

var ownersKeys = flag.Int("revoke.keys", 1200, "how many keys of one owner TestAllKeysOfAnOwnerAreRevoked revokes")

// TestAllKeysOfAnOwnerAreRevoked (-revoke.keys=10000 for that many), and no others:
// first in a dry run, which writes nothing.
func TestAllKeysOfAnOwnerAreRevoked(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		n := *ownersKeys
		if o.noTransactions || o.server.Kind == mongotest.NameSecantus { // each takes its own time
			n, o.perTransaction = min(n, 60), 25
		}
		o.insertKeys(n, "u", bson.E{Key: "org_id", Value: "acme"})
		o.insertKeys(20, "v", bson.E{Key: "org_id", Value: "acme"})
		o.insertKeys(20, "w")
		all := func(dryRun bool) (ids []string, calls int) {
			t.Helper()
			for q := (managedkey.Query{OrgID: "acme", Limit: 500}); ; calls++ {
				page, err := o.RevokeAll(o.ctx(), ofOwner("u"), q, dryRun)
				if err != nil || len(page.KeyIDs) > 500 || len(page.Failed) != 0 || (page.Revision == 0) != dryRun {
					t.Fatalf("%+v, %v", page, err)
				}
				ids = append(ids, page.KeyIDs...)
				if q.After = page.Next; q.After == "" {
					return ids, calls + 1
				}
			}
		}
		dry, _ := all(true)
		if len(dry) != n || dry[0] != fmt.Sprintf("u-%05d", n-1) {
			t.Errorf("dry run: %d keys", len(dry))
		}
		o.mustCount(int64(n)+40, 0)
		if active := o.count(o.keys, active); active != int64(n)+40 {
			t.Errorf("after the dry run %d keys are active", active)
		}
		began := time.Now()
		ids, calls := all(false)
		t.Logf("%d keys in %d calls and %v", len(ids), calls, time.Since(began).Round(time.Millisecond))
		o.mustCount(int64(n)+40, int64(n))
		if !slices.Equal(ids, dry) || o.count(o.keys, active) != 40 {
			t.Errorf("%d keys revoked, %d are active, in the order of the dry run: %v", len(ids), o.count(o.keys, active), slices.Equal(ids, dry))
		}
		lines := bson.D{{Key: "action", Value: "revoke"}, {Key: "cause", Value: "owner"}, {Key: "user_id", Value: "u"}, {Key: "actor", Value: "ann"}, {Key: "request_id", Value: "request-1"}, {Key: "after", Value: inactive}}
		if got := o.count(o.lines, lines); got != int64(n) {
			t.Errorf("%d of %d lines are as they should be: %v", got, n, o.line())
		}
		if ids, calls := all(false); len(ids) != 0 || calls != 1 {
			t.Errorf("again: %d keys", len(ids))
		}
		o.mustCount(int64(n)+40, int64(n))
	})
}

func TestRevokeAllNeedsAnOwner(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		o.insertKeys(3, "u", bson.E{Key: "org_id", Value: bson.A{"acme", "other"}})
		for _, dryRun := range []bool{true, false} {
			if _, err := o.RevokeAll(o.ctx(), ann, managedkey.Query{Limit: 5}, dryRun); !errors.Is(err, managedkey.ErrInvalid) {
				t.Errorf("without an owner: %v", err)
			}
			a := o.withSchema(t, func(s *keystore.Schema) { s.OrgID = "" })
			if _, err := a.RevokeAll(o.ctx(), ann, managedkey.Query{OrgID: "acme", Limit: 5}, dryRun); !errors.Is(err, managedkey.ErrCannotStore) {
				t.Errorf("of a field that is not mapped: %v", err)
			}
			// The filter finds the arrays, but these keys belong to no organisation.
			if page, err := o.RevokeAll(o.ctx(), ann, managedkey.Query{OrgID: "acme", Limit: 5}, dryRun); err != nil || len(page.KeyIDs) != 0 {
				t.Errorf("%+v, %v", page, err)
			}
			if _, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{After: "x", Limit: 5}, dryRun); !errors.Is(err, managedkey.ErrInvalid) {
				t.Errorf("with a bad cursor: %v", err)
			}
		}
		if n := o.count(o.keys, active); n != 3 {
			t.Errorf("%d keys are active", n)
		}
	})
}

// TestARevocationThatStopsIsContinued: after three transactions the database refuses
// the writes. What is revoked has its audit entries, and a repeated call continues.
func TestARevocationThatStopsIsContinued(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		const n, commandsToPass = 25, 3
		done := commandsToPass // keys, each written alone
		if o.perTransaction = 5; !o.noTransactions {
			done = commandsToPass * o.perTransaction
		}
		o.insertKeys(n, "u")
		off := o.fail(skip(commandsToPass), commands("update"), code(13))
		first, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500}, false)
		if err != nil || len(first.KeyIDs) != done || first.Next == "" {
			t.Fatalf("%d keys, next %q, %v", len(first.KeyIDs), first.Next, err)
		}
		if o.logs.FilterMessageSnippet("stopped before its limit").Len() != 1 {
			t.Errorf("log: %v", o.logs.All())
		}
		o.mustCount(n, int64(done))
		if _, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500, After: first.Next}, false); !errors.Is(err, managedkey.ErrRefused) {
			t.Errorf("while the writes are refused: %v", err)
		}
		o.mustCount(n, int64(done))
		off()
		second, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500}, false)
		if err != nil || len(second.KeyIDs) != n-done || second.Next != "" || second.Revision <= first.Revision {
			t.Errorf("%d keys, next %q, %v", len(second.KeyIDs), second.Next, err)
		}
		o.mustCount(n, n)
	})
}

// TestAKeyThatCannotBeChangedStopsNoOther: a unique index of the collection rejects one
// document.
func TestAKeyThatCannotBeChangedStopsNoOther(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		o.insertKeys(8, "u")
		unique := mongo.IndexModel{Keys: bson.D{{Key: "name", Value: 1}, {Key: "is_active", Value: 1}}, Options: options.Index().SetUnique(true)}
		if _, err := o.keys.Indexes().CreateOne(o.ctx(), unique); err != nil {
			t.Fatal(err)
		}
		old := bson.D{{Key: "_id", Value: "old"}, {Key: "key_hash", Value: "old"}, {Key: "user_id", Value: "u"}, {Key: "name", Value: "u-00003"}, {Key: "is_active", Value: false}}
		if _, err := o.keys.InsertOne(o.ctx(), old); err != nil {
			t.Fatal(err)
		}
		page, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500}, false)
		if err != nil || len(page.KeyIDs) != 7 || len(page.Failed) != 1 || page.Failed[0].KeyID != "u-00003" || !errors.Is(page.Failed[0].Err, managedkey.ErrDuplicate) {
			t.Fatalf("%+v, %v", page, err)
		}
		o.mustCount(9, 7)
		if n := o.count(o.keys, active); n != 1 {
			t.Errorf("%d keys are active", n)
		}
	})
}

// TestARevocationWithAnUnknownOutcomeIsRepeated: no majority acknowledges it in time.
func TestARevocationWithAnUnknownOutcomeIsRepeated(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		o.insertKeys(3, "u")
		command := commands("commitTransaction")
		if o.noTransactions {
			command = commands("update")
		}
		off := o.fail("alwaysOn", command, bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "errmsg", Value: "no majority"}}})
		for range 2 {
			if o.count(o.keys, active) == 0 {
				break // the first call has written them all
			}
			if _, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500}, false); !errors.Is(err, managedkey.ErrInterrupted) {
				t.Errorf("got %v", err)
			}
		}
		off()
		page, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500}, false)
		if err != nil || o.count(o.keys, active) != 0 || page.Revision == 0 {
			t.Errorf("%+v, %v", page, err)
		}
	}, func(c *Config) { c.Timeout = 400 * time.Millisecond })
}

// TestALongRevocationEndsBetweenTransactions: a call that has used half of its time
// begins no other transaction, and its response says where to continue.
func TestALongRevocationEndsBetweenTransactions(t *testing.T) {
	t.Parallel()
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	o := newFixture(t, &node.Server, func(c *Config) { c.Timeout = 2 * time.Second })
	o.perTransaction = 2
	o.insertKeys(6, "u")
	off := o.fail("alwaysOn", commands("commitTransaction"), bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 1050})
	page, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500}, false)
	if err != nil || len(page.KeyIDs) != 2 || page.Next == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	off()
	page, err = o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500, After: page.Next}, false)
	if err != nil || len(page.KeyIDs) != 4 || page.Next != "" {
		t.Errorf("the rest: %+v, %v", page, err)
	}
	if o.logs.FilterMessageSnippet("stopped before its limit").Len() != 0 {
		t.Errorf("log: %v", o.logs.All())
	}
}

// TestAKeyThatHasChangedHandsIsNotRevoked: it belonged to the owner when it was found,
// and belongs to another one when it is written.
func TestAKeyThatHasChangedHandsIsNotRevoked(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		o.insertKeys(4, "u", bson.E{Key: "org_id", Value: "acme"}, bson.E{Key: "project_id", Value: "p"})
		found, err := o.store.List(o.ctx(), keystore.Query{OrgID: "acme", Limit: 9})
		if err != nil || len(found.Keys) != 4 {
			t.Fatalf("%d keys, %v", len(found.Keys), err)
		}
		for id, field := range map[string]string{"u-00000": "user_id", "u-00001": "org_id", "u-00002": "project_id"} {
			if _, err := o.keys.UpdateByID(o.ctx(), id, bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: "another"}}}}); err != nil {
				t.Fatal(err)
			}
		}
		r := revocation{Admin: o.Admin, caller: ofOwner("u"), owner: managedkey.Owner{OrgID: "acme"}, projectID: "p", cause: causeOwner}
		if err := r.revoke(o.ctx(), found.Keys); err != nil || len(r.revoked) != 1 || r.revoked[0].Record.KeyID != "u-00003" || len(r.failed) != 0 {
			t.Errorf("%+v, %+v, %v", r.revoked, r.failed, err)
		}
		o.mustCount(4, 1)
		if n := o.count(o.keys, active); n != 3 {
			t.Errorf("%d keys are active", n)
		}
	})
}

// TestMoreDuplicatesThanATransactionHas are all revoked.
func TestMoreDuplicatesThanATransactionHas(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		const n = keysPerTransaction + 5
		if err := o.keys.Indexes().DropOne(o.ctx(), "key_hash_1"); err != nil {
			t.Fatal(err)
		}
		documents := make([]any, n)
		for i := range documents {
			documents[i] = bson.D{{Key: "_id", Value: i}, {Key: "key_hash", Value: apikey.HashOf("sk_the-leaked-key").Hex()}, {Key: "user_id", Value: "u"}, {Key: "is_active", Value: true}}
		}
		if _, err := o.keys.InsertMany(o.ctx(), documents); err != nil {
			t.Fatal(err)
		}
		leaked, err := o.RevokeLeaked(o.ctx(), ann, "sk_the-leaked-key")
		if err != nil || leaked.Revoked != n || len(leaked.Keys) != n || o.count(o.keys, active) != 0 {
			t.Errorf("%d of %d, %d are active, %v", leaked.Revoked, n, o.count(o.keys, active), err)
		}
	})
}

// TestASlowListOfAnOwnersKeys is not a database that does not answer: an index is what
// helps.
func TestASlowListOfAnOwnersKeys(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		o.insertKeys(1, "u")
		o.fail("alwaysOn", commands("find"), code(50))
		_, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 5}, false)
		if !errors.Is(err, managedkey.ErrSlow) || !strings.Contains(err.Error(), `createIndex({"user_id": 1, "created_at": -1, "_id": -1}`) {
			t.Errorf("got %v", err)
		}
	})
}
