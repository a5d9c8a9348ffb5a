package keyadmin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

// line is the newest entry of the audit, as it is stored.
func (o *fixture) line() bson.M {
	o.t.Helper()
	page, err := o.Audit(o.ctx(), managedkey.Caller{}, managedkey.AuditQuery{Limit: 1})
	if err != nil || len(page.Entries) != 1 {
		o.t.Fatalf("%+v, %v", page, err)
	}
	var line bson.M
	id, err := bson.ObjectIDFromHex(page.Entries[0].ID)
	if err == nil {
		err = o.lines.FindOne(o.ctx(), bson.D{{Key: "_id", Value: id}}).Decode(&line)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return line
}

// TestAnEntryHasTheChangedFields by role, and nothing of a secret.
func TestAnEntryHasTheChangedFields(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 0, 0, 123e6, time.UTC)
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		tells := func(action, keyID, before, after string) {
			t.Helper()
			page, err := o.Audit(o.ctx(), managedkey.Caller{}, managedkey.AuditQuery{Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			e := page.Entries[0]
			if e.Action != action || e.KeyID != keyID || string(e.Before) != before || string(e.After) != after ||
				e.Actor != "ann" || e.RequestID != "request-1" || e.UserID != "u" || !e.At.Equal(now) {
				t.Errorf("got %+v\nbefore %s\nafter %s\nwant %s, %s\nbefore %s\nafter %s", e, e.Before, e.After, action, keyID, before, after)
			}
			if e.ID == "" || len(e.NewKeyID) > 0 != (action == "rotate") {
				t.Errorf("ids %q, %q", e.ID, e.NewKeyID)
			}
		}
		made, err := o.Create(o.ctx(), ann, managedkey.Fields{UserID: ptr("u"), Name: ptr("n"), Scopes: ptr([]string{"a"}), Metadata: ptr(json.RawMessage(`{"a":1}`))})
		if err != nil {
			t.Fatal(err)
		}
		id := made.Key.Record.KeyID
		tells("create", id, "", `{"user_id":"u","name":"n","scopes":["a"],"metadata":{"a":1},"is_active":true}`)
		if _, err := o.Update(o.ctx(), ann, id, managedkey.Fields{Name: ptr(""), Scopes: ptr([]string{}), ExpiresAt: ptr(now.Add(time.Hour))}); err != nil {
			t.Fatal(err)
		}
		tells("update", id, `{"name":"n","scopes":["a"],"expires_at":null}`, `{"name":null,"scopes":[],"expires_at":"2026-11-24T11:00:00.123Z"}`)
		rotated, err := o.Rotate(o.ctx(), ann, id, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		tells("rotate", id, `{"expires_at":"2026-11-24T11:00:00.123Z"}`, `{"expires_at":"2026-11-24T10:01:00.123Z"}`)
		if line := o.line(); line["new_key_id"] != rotated.Key.Record.KeyID {
			t.Errorf("%v", line)
		}
		if _, err := o.Revoke(o.ctx(), ann, id); err != nil {
			t.Fatal(err)
		}
		tells("revoke", id, `{"is_active":true}`, `{"is_active":false}`)
		if _, err := o.Delete(o.ctx(), ann, id); err != nil {
			t.Fatal(err)
		}
		tells("delete", id, `{"user_id":"u","scopes":[],"expires_at":"2026-11-24T10:01:00.123Z","metadata":{"a":1},"is_active":false}`, "")
		o.mustCount(1, 5)
		cursor, err := o.lines.Find(o.ctx(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for cursor.Next(o.ctx()) {
			for _, secret := range []string{made.Secret, rotated.Secret} {
				if text := cursor.Current.String(); strings.Contains(text, secret[3:]) || strings.Contains(text, apikey.HashOf(secret).Hex()) || strings.Contains(text, secret[:11]) {
					t.Errorf("a line contains the secret: %s", text)
				}
			}
		}
	}, func(c *Config) { c.Now = func() time.Time { return now } })
}

// TestAnUnchangedKeyHasNoEntry, and the response has a revision all the same.
func TestAnUnchangedKeyHasNoEntry(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		made := o.createKey("u")
		id := made.Key.Record.KeyID
		first, err := o.Revoke(o.ctx(), ann, id)
		if err != nil {
			t.Fatal(err)
		}
		o.mustCount(1, 2)
		again, err := o.Revoke(o.ctx(), ann, id)
		if err != nil || again.Revision < first.Revision || again.Key.Digest != first.Key.Digest {
			t.Errorf("%+v, %v", again, err)
		}
		if same, err := o.Update(o.ctx(), ann, id, managedkey.Fields{Scopes: ptr([]string{"read"})}); err != nil || same.Revision < first.Revision {
			t.Errorf("%+v, %v", same, err)
		}
		o.mustCount(1, 2)
	})
}

func TestOnlyAValidKeyIsRotated(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		insert := func(id string, fields ...bson.E) {
			t.Helper()
			document := append(bson.D{{Key: "_id", Value: id}, {Key: "key_hash", Value: apikey.HashOf(id).Hex()}, {Key: "user_id", Value: "u"}}, fields...)
			if _, err := o.keys.InsertOne(o.ctx(), document); err != nil {
				t.Fatal(err)
			}
		}
		on := bson.E{Key: "is_active", Value: true}
		insert("off", bson.E{Key: "is_active", Value: false})
		insert("expired", on, bson.E{Key: "expires_at", Value: time.Now().Add(-time.Second)})
		insert("broken", on, bson.E{Key: "name", Value: 7})
		for _, id := range []string{"off", "expired", "broken"} {
			if _, err := o.Rotate(o.ctx(), ann, id, 0); !errors.Is(err, managedkey.ErrNotRotatable) {
				t.Errorf("%s: %v", id, err)
			}
		}
		for _, overlap := range []time.Duration{-time.Second, managedkey.MaxOverlap + time.Second} {
			if _, err := o.Rotate(o.ctx(), ann, "off", overlap); !errors.Is(err, managedkey.ErrInvalid) {
				t.Errorf("%v: %v", overlap, err)
			}
		}
		o.mustCount(3, 0)
		// A broken one can be switched off and deleted.
		for _, id := range []string{"broken", "expired"} {
			if got, err := o.Revoke(o.ctx(), ann, id); err != nil || got.Key.Record.Active {
				t.Errorf("%s: %+v, %v", id, got, err)
			}
			if _, err := o.Delete(o.ctx(), ann, id); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
		o.mustCount(1, 4)
	})
}

// TestARotationIsAtomic, also without a transaction.
func TestARotationIsAtomic(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		made := o.createKey("u")
		id := made.Key.Record.KeyID
		before, err := o.Get(o.ctx(), ann, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"insert", "findAndModify"} {
			o.fail("alwaysOn", commands(command), code(13))
			if got, err := o.Rotate(o.ctx(), ann, id, time.Minute); !errors.Is(err, managedkey.ErrRefused) || got.Secret != "" {
				t.Errorf("%s: %+v, %v", command, got, err)
			}
			o.mustCount(1, 1, command, " fails")
		}
		// The key itself cannot be written, but its line could.
		o.fail(skip(1), commands("insert"), code(13))
		if _, err := o.Create(o.ctx(), ann, managedkey.Fields{UserID: ptr("u")}); !errors.Is(err, managedkey.ErrRefused) {
			t.Errorf("%v", err)
		}
		o.mustCount(1, 1, "the second insert fails")
		if after, err := o.Get(o.ctx(), ann, id); err != nil || after.Digest != before.Digest {
			t.Errorf("it was changed: %+v, %v", after, err)
		}
	})
}

// TestAFailedUndoIsAnUnknownOutcome: the second half of a rotation fails, and the
// first half cannot be undone.
func TestAFailedUndoIsAnUnknownOutcome(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		if !o.noTransactions {
			t.Skip("a transaction takes back what it has to")
		}
		id := o.createKey("u").Key.Record.KeyID
		o.fail("alwaysOn", commands("findAndModify", "delete"), code(13))
		_, err := o.Rotate(o.ctx(), ann, id, time.Minute)
		var unknown *managedkey.UnknownError
		if !errors.As(err, &unknown) || unknown.KeyID == id {
			t.Fatalf("%v", err)
		}
		if _, err := o.Get(o.ctx(), ann, unknown.KeyID); err != nil {
			t.Errorf("the new key %s: %v", unknown.KeyID, err)
		}
		o.mustCount(2, 2)
		// An entry that could not be deleted is in the log.
		o.fail("alwaysOn", commands("findAndModify", "delete"), code(13))
		if _, err := o.Revoke(o.ctx(), ann, id); !errors.Is(err, managedkey.ErrRefused) {
			t.Errorf("%v", err)
		}
		if o.logs.FilterMessageSnippet("could not be deleted").Len() != 1 {
			t.Errorf("%v", o.logs.All())
		}
	})
}

func TestAnUnknownOutcomeNamesTheKey(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		if o.server.Kind == mongotest.NameSecantus && !o.noTransactions {
			t.Skip("a transaction that does not end blocks all writers there")
		}
		id := o.createKey("u").Key.Record.KeyID
		// The line is inserted first where there is no transaction, so that only the
		// key's own write may fail.
		mode := any("alwaysOn")
		if o.noTransactions {
			mode = skip(1)
		}
		never := []bson.E{commands("commitTransaction", "insert"), closes}
		if !o.noTransactions {
			never[0] = commands("commitTransaction")
		}
		var unknown *managedkey.UnknownError
		off := o.fail(mode, never...)
		got, err := o.Create(o.ctx(), ann, managedkey.Fields{UserID: ptr("u")})
		if !errors.As(err, &unknown) || unknown.KeyID == "" || unknown.KeyID == id || got.Secret != "" || !strings.Contains(err.Error(), unknown.KeyID) {
			t.Errorf("create: %+v, %v", got, err)
		}
		off()
		o.reaches(id)
		made := unknown.KeyID
		off = o.fail("alwaysOn", commands("commitTransaction", "findAndModify"), closes)
		if !o.noTransactions {
			off()
			off = o.fail("alwaysOn", commands("commitTransaction"), closes)
		}
		if _, err = o.Revoke(o.ctx(), ann, id); !errors.As(err, &unknown) || unknown.KeyID != id {
			t.Errorf("revoke: %v", err)
		}
		off()
		o.reaches(id)
		_, err = o.Get(o.ctx(), ann, made)
		lines := o.count(o.lines, bson.D{{Key: "key_id", Value: made}})
		if err != nil && lines != 0 && !o.noTransactions || err == nil && lines != 1 {
			t.Errorf("the key: %v, and %d lines", err, lines)
		}
	}, func(c *Config) { c.Timeout = 700 * time.Millisecond })
}

// TestAFailedReadIsNotAnUnknownOutcome: nothing was sent that could take effect.
func TestAFailedReadIsNotAnUnknownOutcome(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		id := o.createKey("u").Key.Record.KeyID
		o.fail("alwaysOn", commands("find"), closes)
		if _, err := o.Revoke(o.ctx(), ann, id); !errors.Is(err, managedkey.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		o.fail("alwaysOn", commands("find"), bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 1000})
		if _, err := o.Revoke(o.ctx(), ann, id); !errors.Is(err, managedkey.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}, func(c *Config) { c.Timeout = 500 * time.Millisecond })
}

// TestAConcurrentChangeIsNotLost: a change by another client, between the read
// of a key and the write, is neither lost nor undone.
func TestAConcurrentChangeIsNotLost(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		made := o.createKey("u")
		id := made.Key.Record.KeyID
		mine := ann
		mine.IfMatch = []string{"another", made.Key.Digest}
		renamed, err := o.Update(o.ctx(), mine, id, managedkey.Fields{Name: ptr("mine")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Update(o.ctx(), mine, id, managedkey.Fields{Name: ptr("late")}); !errors.Is(err, managedkey.ErrChanged) {
			t.Errorf("%v", err)
		}
		if _, err := o.Delete(o.ctx(), mine, id); !errors.Is(err, managedkey.ErrChanged) {
			t.Errorf("%v", err)
		}
		none := managedkey.Caller{IfMatch: []string{}}
		if _, err := o.Revoke(o.ctx(), none, id); !errors.Is(err, managedkey.ErrChanged) {
			t.Errorf("%v", err)
		}
		tries := 0
		written, err := o.change(o.ctx(), ann, "update", id, func(was keystore.Details) (keystore.Fields, error) {
			if tries++; tries == 1 {
				if _, err := o.keys.UpdateMany(o.ctx(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "project_id", Value: "theirs"}}}}); err != nil {
					t.Fatal(err)
				}
			}
			return keystore.Fields{Name: ptr(fmt.Sprint("after ", was.Record.Name))}, nil
		})
		if r := &written.Key.Record; err != nil || tries < 2 || r.ProjectID != "theirs" || r.Name != "after mine" {
			t.Errorf("after %d tries: %+v, %v", tries, r, err)
		}
		o.mustCount(1, 3, renamed.Key.Digest)
	})
}

func TestAnOwnerSeesOnlyTheirKeys(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		id := o.createKey("u").Key.Record.KeyID
		theirs := managedkey.Caller{Actor: "ann", Owner: "other"}
		calls := map[string]func() error{
			"get":    func() error { _, err := o.Get(o.ctx(), theirs, id); return err },
			"update": func() error { _, err := o.Update(o.ctx(), theirs, id, managedkey.Fields{}); return err },
			"revoke": func() error { _, err := o.Revoke(o.ctx(), theirs, id); return err },
			"rotate": func() error { _, err := o.Rotate(o.ctx(), theirs, id, 0); return err },
			"delete": func() error { _, err := o.Delete(o.ctx(), theirs, id); return err },
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, managedkey.ErrNoSuchKey) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := o.Create(o.ctx(), theirs, managedkey.Fields{UserID: ptr("u")}); !errors.Is(err, managedkey.ErrInvalid) {
			t.Errorf("create: %v", err)
		}
		if page, err := o.List(o.ctx(), theirs, managedkey.Query{Limit: 9, IncludeInactive: true}); err != nil || len(page.Keys) != 0 {
			t.Errorf("%+v, %v", page, err)
		}
		if page, err := o.Audit(o.ctx(), theirs, managedkey.AuditQuery{Limit: 9}); err != nil || len(page.Entries) != 0 {
			t.Errorf("%+v, %v", page, err)
		}
		o.mustCount(1, 1)
	})
}

func TestTheAuditContinuesAtItsCursor(t *testing.T) {
	var clock time.Time
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		var ids []string
		for i := range 7 {
			clock = time.Date(2026, 11, 24, 10, 0, i/3, 0, time.UTC) // three a second
			ids = append(ids, o.createKey("u").Key.Record.KeyID)
		}
		slices.Reverse(ids)
		for limit := 1; limit < 9; limit++ {
			var got []string
			q := managedkey.AuditQuery{Limit: limit}
			for {
				page, err := o.Audit(o.ctx(), managedkey.Caller{}, q)
				if err != nil || len(page.Entries) > limit || len(got) > len(ids) {
					t.Fatalf("%d entries, %v", len(page.Entries), err)
				}
				for _, e := range page.Entries {
					got = append(got, e.KeyID)
				}
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			if !slices.Equal(got, ids) {
				t.Errorf("in pages of %d: %q, want %q", limit, got, ids)
			}
		}
		page, err := o.Audit(o.ctx(), managedkey.Caller{}, managedkey.AuditQuery{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		list, err := o.List(o.ctx(), managedkey.Caller{}, managedkey.Query{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []managedkey.AuditQuery{
			{After: page.Next, KeyID: "k"},
			{After: list.Next},
			{After: page.Next + "x"},
			{After: "x"},
		} {
			q.Limit = 1
			if _, err := o.Audit(o.ctx(), managedkey.Caller{}, q); !errors.Is(err, managedkey.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if _, err := o.Audit(o.ctx(), managedkey.Caller{Owner: "u"}, managedkey.AuditQuery{Limit: 1, After: page.Next}); !errors.Is(err, managedkey.ErrInvalid) {
			t.Errorf("another one's cursor: %v", err)
		}
		if _, err := o.List(o.ctx(), managedkey.Caller{}, managedkey.Query{Limit: 1, After: page.Next}); !errors.Is(err, managedkey.ErrInvalid) {
			t.Errorf("a cursor of the audit for a list: %v", err)
		}
	}, func(c *Config) { c.Now = func() time.Time { return clock } })
}

func TestADuplicateIsReported(t *testing.T) {
	random := bytes.Repeat([]byte{7}, 64)
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		o.config.Random = bytes.NewReader(random)
		o.createKey("u")
		if _, err := o.Create(o.ctx(), ann, managedkey.Fields{UserID: ptr("u")}); !errors.Is(err, managedkey.ErrDuplicate) || !strings.Contains(err.Error(), "another key has this hash") {
			t.Errorf("%v", err)
		}
		o.mustCount(1, 1)
		if _, err := o.Create(o.ctx(), ann, managedkey.Fields{UserID: ptr("u")}); err == nil {
			t.Error("a key is made without randomness")
		}
	})
}

// TestANewKeyFollowsTheCollectionsForm: its text has the prefix of the
// collection's keys, and its hash covers what follows.
func TestANewKeyFollowsTheCollectionsForm(t *testing.T) {
	t.Parallel()
	for after, want := range map[string]string{"": "kt_", "kt_": "kt_", "sk_live_": "sk_live_kt_", "k": "kt_", "kt_kt_": "kt_kt_kt_"} {
		schema := keystore.DefaultSchema()
		schema.HashAfter = after
		store, err := keystore.New(keystore.Config{Client: &mongo.Client{}, Database: "d", Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		a := &Admin{config: Config{Prefix: "kt"}, store: store}
		text, hash, err := a.secret()
		if err != nil || !strings.HasPrefix(text, want) || len(text) != len(want)+49 {
			t.Errorf("after %q: %q, %v", after, text, err)
		}
		if hash != apikey.HashOf(strings.TrimPrefix(text, after)) {
			t.Errorf("after %q the hash is of something else", after)
		}
	}
}

func TestAMissingPrivilegeIsNamedAtStart(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s)
		o.fail("alwaysOn", commands("createIndexes"), code(13))
		err := o.Prepare(o.ctx())
		for _, words := range []string{"find, insert, remove and createIndex", CollectionName, o.lines.Database().Name(), "--admin-token-file"} {
			if !errors.Is(err, keystore.ErrUnauthorized) || !strings.Contains(err.Error(), words) {
				t.Errorf("nothing of %q in: %v", words, err)
			}
		}
		o.fail("alwaysOn", commands("find"), code(20))
		if err := o.Prepare(o.ctx()); err != nil || !o.noTransactions || o.logs.FilterMessageSnippet("has no transactions").Len() == 0 {
			t.Errorf("without transactions: alone %v, %v", o.noTransactions, err)
		}
		o.fail("alwaysOn", commands("find"), code(11601))
		if err := o.Prepare(o.ctx()); err == nil {
			t.Error("a server that does not answer is taken for one that has none")
		}
	})
}

// TestRunCreatesTheIndexesForLists after the start, which does not wait for them, and only
// where keytail may create what is missing.
func TestRunCreatesTheIndexesForLists(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s)
		if o.logs.FilterMessageSnippet("lists of keys are slow").Len() != 1 {
			t.Errorf("log: %v", o.logs.All())
		}
		if err := o.Run(o.ctx()); err != nil || o.store.CheckListIndexes(o.ctx()) == nil {
			t.Errorf("without EnsureSchema it creates indexes, or %v", err)
		}
		o.config.EnsureSchema = true
		on := o.fail("alwaysOn", commands("createIndexes"), code(13))
		if err := o.Run(o.ctx()); err != nil || o.logs.FilterMessageSnippet("restart keytail to try again").Len() != 1 {
			t.Errorf("%v, log: %v", err, o.logs.All())
		}
		on()
		for range 2 {
			if err := errors.Join(o.Run(o.ctx()), o.store.CheckListIndexes(o.ctx())); err != nil {
				t.Error(err)
			}
		}
		if o.logs.FilterMessageSnippet("created indexes for lists").Len() != 1 {
			t.Errorf("log: %v", o.logs.All())
		}
		if o := newFixture(t, s, func(c *Config) { c.EnsureSchema = true }); o.logs.FilterMessageSnippet("lists of keys are slow").Len() != 0 {
			t.Errorf("a start complains of what it will create: %v", o.logs.All())
		}
	})
}

func TestNewChecksItsConfig(t *testing.T) {
	t.Parallel()
	for _, config := range []Config{{}, {Audit: &mongo.Collection{}}, {Store: &keystore.Store{}, Audit: &mongo.Collection{}, Prefix: "K_"}} {
		if _, err := New(config); err == nil {
			t.Errorf("%+v is taken", config)
		}
	}
}
