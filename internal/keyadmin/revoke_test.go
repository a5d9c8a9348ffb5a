package keyadmin

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
)

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
