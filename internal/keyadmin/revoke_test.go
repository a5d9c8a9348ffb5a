package keyadmin

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

var ownersKeys = flag.Int("revoke.keys", 1200, "how many keys of one owner TestAllKeysOfAnOwnerAreRevoked revokes")

// ofOwner is a caller for the keys of one user.
func ofOwner(user string) managedkey.Caller {
	return managedkey.Caller{Actor: "ann", RequestID: "request-1", Owner: user}
}

// insertKeys inserts active keys of a user; fields replace or add to their fields.
func (o *fixture) insertKeys(n int, user any, fields ...bson.E) {
	o.t.Helper()
	documents := make([]any, n)
	for i := range documents {
		d := bson.D{
			{Key: "_id", Value: fmt.Sprintf("%v-%05d", user, i)},
			{Key: "key_hash", Value: apikey.HashOf(keyText(user, i)).Hex()},
			{Key: "user_id", Value: user},
			{Key: "is_active", Value: true},
			{Key: "created_at", Value: time.UnixMilli(int64(i))},
			{Key: "name", Value: fmt.Sprintf("%v-%05d", user, i)},
		}
		documents[i] = append(d, fields...)
	}
	if _, err := o.keys.InsertMany(o.ctx(), documents); err != nil {
		o.t.Fatal(err)
	}
}

func keyText(user any, i int) string { return fmt.Sprintf("key-of-%v-%d", user, i) }

var (
	active   = bson.D{{Key: "is_active", Value: true}}
	inactive = bson.D{{Key: "is_active", Value: false}}
)

// mustNotContain fails if a text has a part of a secret.
func mustNotContain(t *testing.T, text, secret string) {
	t.Helper()
	const part = 8
	for i := 0; i+part <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+part]) {
			t.Fatalf("%q contains a part of the key", text)
		}
	}
}

func TestALeakedKeyIsRevokedByItsText(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		made := o.createKey("u")
		o.createKey("u")
		_, err := o.RevokeLeaked(o.ctx(), ofOwner("v"), made.Secret)
		if !errors.Is(err, managedkey.ErrNoSuchKey) {
			t.Errorf("as another owner: %v", err)
		}
		o.mustCount(2, 2)
		leaked, err := o.RevokeLeaked(o.ctx(), ann, made.Secret)
		if err != nil || leaked.Revoked != 1 || len(leaked.Keys) != 1 || leaked.Keys[0].Record.KeyID != made.Key.Record.KeyID || leaked.Keys[0].Record.Active || leaked.Revision <= made.Revision {
			t.Fatalf("%+v, %v", leaked, err)
		}
		line := o.line()
		if line["action"] != "revoke" || line["cause"] != "leaked" || line["key_id"] != made.Key.Record.KeyID || line["actor"] != "ann" || line["request_id"] != "request-1" {
			t.Errorf("audit: %v", line)
		}
		mustNotContain(t, fmt.Sprint(line), made.Secret[3:])
		o.mustCount(2, 3)
		if n := o.count(o.keys, active); n != 1 {
			t.Errorf("%d keys are active", n)
		}
		again, err := o.RevokeLeaked(o.ctx(), ofOwner("u"), made.Secret)
		if err != nil || again.Revoked != 0 || len(again.Keys) != 1 || again.Revision < leaked.Revision {
			t.Errorf("again: %+v, %v", again, err)
		}
		o.mustCount(2, 3)
	})
}

// TestAnUnknownKeyIsNotLogged, nor any part of it in an error.
func TestAnUnknownKeyIsNotLogged(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		made := o.createKey("u")
		own, err := apikey.Generate("kt", nil)
		if err != nil {
			t.Fatal(err)
		}
		o.logs.TakeAll()
		mistyped := made.Secret[:20] + "0" + made.Secret[20:len(made.Secret)-1]
		for text, want := range map[string]error{
			own: managedkey.ErrNoSuchKey,
			"ghp_16C7e42F292c6912E7710c838347Ae178B4a": managedkey.ErrNoSuchKey,
			mistyped:             managedkey.ErrInvalid,
			made.Secret + " ":    managedkey.ErrInvalid,
			"\"" + made.Secret:   managedkey.ErrNoSuchKey,
			"short":              managedkey.ErrInvalid,
			"schlüssel-mit-ü-ü":  managedkey.ErrInvalid,
			made.Secret + "\x00": managedkey.ErrInvalid,
		} {
			_, err := o.RevokeLeaked(o.ctx(), ann, text)
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			mustNotContain(t, fmt.Sprint(err), text)
		}
		if all := o.logs.FilterLevelExact(zapcore.DebugLevel).All(); o.logs.Len() != len(all) {
			t.Errorf("logged: %v", o.logs.All())
		}
		o.mustCount(1, 1)
		if n := o.count(o.keys, active); n != 1 {
			t.Errorf("%d keys are active", n)
		}
	})
}

// TestALeakedKeyOfTwoDocuments: the unique index was dropped, and both are revoked.
func TestALeakedKeyOfTwoDocuments(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		if err := o.keys.Indexes().DropOne(o.ctx(), "key_hash_1"); err != nil {
			t.Fatal(err)
		}
		hash := bson.E{Key: "key_hash", Value: apikey.HashOf("sk_the-leaked-key").Hex()}
		for _, id := range []string{"a", "b"} {
			if _, err := o.keys.InsertOne(o.ctx(), bson.D{{Key: "_id", Value: id}, hash, {Key: "user_id", Value: "u"}, {Key: "is_active", Value: true}}); err != nil {
				t.Fatal(err)
			}
		}
		leaked, err := o.RevokeLeaked(o.ctx(), ann, "sk_the-leaked-key")
		if err != nil || leaked.Revoked != 2 || len(leaked.Keys) != 2 || o.count(o.keys, active) != 0 {
			t.Errorf("%+v, %v", leaked, err)
		}
		o.mustCount(2, 2)
	})
}

// withSchema gives the Admin another mapping.
func (o *fixture) withSchema(t *testing.T, change func(*keystore.Schema)) *Admin {
	t.Helper()
	schema := o.store.Schema()
	change(&schema)
	client := o.server.Client(t)
	store, err := keystore.New(keystore.Config{Client: client, Database: o.keys.Database().Name(), Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Store: store, Audit: client.Database(o.keys.Database().Name()).Collection(CollectionName)})
	if err != nil {
		t.Fatal(err)
	}
	a.noTransactions = o.noTransactions
	return a
}

// TestRevocationInEveryFormOfTheSwitch: of one key by its text, and of all others.
func TestRevocationInEveryFormOfTheSwitch(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		for _, form := range keystore.ActiveForms() {
			user := string(form)
			a := o.withSchema(t, func(s *keystore.Schema) {
				if s.ActiveForm, s.Active = form, "switch"; form == keystore.ActiveAlways {
					s.Active = ""
				}
			})
			on := map[keystore.ActiveForm]any{keystore.ActiveBoolean: true, keystore.ActiveNegated: false}[form]
			o.insertKeys(3, user, bson.E{Key: "switch", Value: on})
			leaked, err := a.RevokeLeaked(o.ctx(), ann, keyText(user, 0))
			if form == keystore.ActiveAlways {
				if !errors.Is(err, managedkey.ErrCannotStore) || !strings.Contains(err.Error(), "the key always-00000 cannot be revoked") {
					t.Errorf("%s: %v", form, err)
				}
				_, err := a.RevokeAll(o.ctx(), ofOwner(user), managedkey.Query{Limit: 5}, true)
				if !errors.Is(err, managedkey.ErrCannotStore) {
					t.Errorf("%s: %v", form, err)
				}
				continue
			}
			if err != nil || leaked.Revoked != 1 || leaked.Keys[0].Record.Active {
				t.Errorf("%s: %+v, %v", form, leaked, err)
			}
			page, err := a.RevokeAll(o.ctx(), ofOwner(user), managedkey.Query{Limit: 5}, false)
			if err != nil || len(page.KeyIDs) != 2 || page.Next != "" || len(page.Failed) != 0 {
				t.Errorf("%s: %+v, %v", form, page, err)
			}
			listed, err := a.List(o.ctx(), ofOwner(user), managedkey.Query{Limit: 5})
			if err != nil || len(listed.Keys) != 0 {
				t.Errorf("%s: %d keys are active, %v", form, len(listed.Keys), err)
			}
		}
	})
}

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
		if ids, _ := all(true); len(ids) != n || ids[0] != fmt.Sprintf("u-%05d", n-1) {
			t.Errorf("dry run: %d keys", len(ids))
		}
		o.mustCount(int64(n)+40, 0)
		if active := o.count(o.keys, active); active != int64(n)+40 {
			t.Errorf("after the dry run %d keys are active", active)
		}
		began := time.Now()
		ids, calls := all(false)
		t.Logf("%d keys in %d calls and %v", len(ids), calls, time.Since(began).Round(time.Millisecond))
		o.mustCount(int64(n)+40, int64(n))
		if len(ids) != n || o.count(o.keys, active) != 40 {
			t.Errorf("%d keys revoked, %d are active", len(ids), o.count(o.keys, active))
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
		if o.noTransactions {
			// Nothing could say where to continue: an empty Next says that no keys are left.
			if !errors.Is(err, managedkey.ErrRefused) || first.KeyIDs != nil {
				t.Fatalf("%d keys, next %q, %v", len(first.KeyIDs), first.Next, err)
			}
		} else if err != nil || len(first.KeyIDs) != done || first.Next == "" {
			t.Fatalf("%d keys, next %q, %v", len(first.KeyIDs), first.Next, err)
		} else if o.logs.FilterMessageSnippet("stopped before its limit").Len() != 1 {
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
		r := revocation{Admin: o.Admin, caller: ofOwner("u"), orgID: "acme", projectID: "p", cause: causeOwner}
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
		if !errors.Is(err, managedkey.ErrSlow) || !strings.Contains(err.Error(), `createIndex({"user_id": 1, "created_at": -1, _id: -1})`) {
			t.Errorf("got %v", err)
		}
	})
}
