package integration

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

func TestAChangeByAnotherClientTakesEffect(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		// The requests name no organisation.
		r := start(t, s, func(c *daemon.Config) { c.RequireBinding = true })
		cases := []struct {
			name   string
			change func(k key)
			want   apikey.Code
		}{
			{"revoked", func(k key) { r.set(k, "is_active", false) }, apikey.Disabled},
			{"expired", func(k key) { r.set(k, "expires_at", time.Now().Add(-time.Hour)) }, apikey.Expired},
			{"bound to an org", func(k key) { r.set(k, "org_id", "org-1") }, apikey.Forbidden},
			{"allow-listed elsewhere", func(k key) { r.set(k, "allowed_ips", bson.A{"192.0.2.0/24"}) }, apikey.Forbidden},
			{"one scope replaced", func(k key) { r.set(k, "scopes.0", "other") }, apikey.InsufficientPermissions},
			{"a scope pulled", func(k key) {
				r.update(k, bson.D{{Key: "$pull", Value: bson.D{{Key: "scopes", Value: "read"}}}})
			}, apikey.InsufficientPermissions},
			{"a required field unset", func(k key) {
				r.update(k, bson.D{{Key: "$unset", Value: bson.D{{Key: "user_id", Value: ""}}}})
			}, apikey.Disabled},
			{"replaced", func(k key) {
				d := k.document()
				d[5].Value = false
				if _, err := r.keys.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: k.id}}, d); err != nil {
					t.Fatal(err)
				}
			}, apikey.Disabled},
			{"deleted", func(k key) {
				if _, err := r.keys.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: k.id}}); err != nil {
					t.Fatal(err)
				}
			}, apikey.NotFound},
			{"hash moved away", func(k key) { r.set(k, "key_hash", apikey.HashOf("something else").Hex()) }, apikey.NotFound},
			{"hash broken", func(k key) { r.set(k, "key_hash", 7) }, apikey.NotFound},
		}
		for _, c := range cases {
			k := r.newKey()
			r.waitForCode(k, apikey.Valid, "read")
			r.waitUntilCached(k)
			c.change(k)
			r.waitForCode(k, c.want, "read")
			t.Log(c.name, "takes effect")
		}
		if losses := r.metric("keytail_losses_total"); losses != 0 {
			t.Errorf("got %v losses, want 0", losses)
		}
	})
}

func TestANewKeyReplacesItsNegativeEntry(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		text, err := apikey.Generate(apikey.DefaultPrefix, nil)
		if err != nil {
			t.Fatal(err)
		}
		k := key{id: "late", text: text}
		r.waitForCode(k, apikey.NotFound)
		r.waitUntilCached(k)
		if _, err := r.keys.InsertOne(t.Context(), k.document()); err != nil {
			t.Fatal(err)
		}
		r.waitForCode(k, apikey.Valid)
	})
}

func TestAHashMovesToAnotherDocument(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		r.set(k, "key_hash", apikey.HashOf("another key").Hex())
		other := key{id: "other", text: k.text}
		if _, err := r.keys.InsertOne(t.Context(), other.document()); err != nil {
			t.Fatal(err)
		}
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			v := r.validate(k)
			return v.Code == apikey.Valid && v.Record.KeyID == "other"
		}, "the hash did not move to the other document")
	})
}

func TestLastUsedWritesCostNothing(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k, marker := r.newKey(), r.newKey()
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_changes_total") == 2 }, "the inserts are not applied")
		r.waitForCode(k, apikey.Valid)
		r.waitForCode(marker, apikey.Valid)
		r.waitUntilCached(marker)
		changes := r.metric("keytail_changes_total")
		for range 20 {
			r.update(k, bson.D{
				{Key: "$set", Value: bson.D{{Key: "last_used", Value: time.Now()}}},
				{Key: "$inc", Value: bson.D{{Key: "usage_count", Value: 1}}},
			})
		}
		// The marker's change comes after them in the stream.
		r.set(marker, "is_active", false)
		r.waitForCode(marker, apikey.Disabled)
		if got := r.metric("keytail_changes_total") - changes; got != 1 {
			t.Fatalf("got %v applied changes, want only the marker's", got)
		}
		if got := r.metric("keytail_stream_events_total", "update"); got != 1 {
			t.Fatalf("got %v updates over the wire, want only the marker's", got)
		}
	})
}

func TestADroppedCollectionIsAnOutage(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		if err := r.keys.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.waitForCode(k, apikey.Unavailable)
		mongotest.CreateAPIKeys(t, r.db)
		r.waitForCode(k, apikey.NotFound)
		if _, err := r.keys.InsertOne(t.Context(), k.document()); err != nil {
			t.Fatal(err)
		}
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		r.set(k, "is_active", false)
		r.waitForCode(k, apikey.Disabled)
		if got := r.metric("keytail_losses_total", "drop"); got != 1 {
			t.Errorf("got %v losses by drop, want 1", got)
		}
	})
}

func TestACollectionRenamedAwayIsAnOutage(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.rename("api_keys", "elsewhere", false)
		r.waitForCode(k, apikey.Unavailable)
		r.rename("elsewhere", "api_keys", false)
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
	})
}

func TestACollectionRenamedOntoIsReadAgain(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		other := r.db.Collection("staging")
		d := k.document()
		d[5].Value = false
		if _, err := other.InsertOne(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		r.rename("staging", "api_keys", true)
		r.waitForCode(k, apikey.Disabled)
		// MongoDB sends only the rename; another server may send the drop of the target
		// before it.
		if got := r.metric("keytail_losses_total", "rename") + r.metric("keytail_losses_total", "drop"); got < 1 {
			t.Error("got no loss, want one")
		}
	})
}

func (r *fixture) rename(from, to string, dropTarget bool) {
	r.t.Helper()
	name := r.db.Name()
	err := r.db.Client().Database("admin").RunCommand(r.t.Context(), bson.D{
		{Key: "renameCollection", Value: name + "." + from},
		{Key: "to", Value: name + "." + to},
		{Key: "dropTarget", Value: dropTarget},
	}).Err()
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestADroppedDatabaseIsAnOutage(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		if err := r.db.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.waitForCode(k, apikey.Unavailable)
		mongotest.CreateAPIKeys(t, r.db)
		r.waitForCode(k, apikey.NotFound)
	})
}

func TestRevokedKeyIsRefusedAfterResume(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		for name, data := range map[string]bson.D{
			"connections closed": {
				{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}},
				{Key: "closeConnection", Value: true},
				{Key: "appName", Value: r.appName},
			},
			"election in progress": {
				{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}},
				{Key: "errorCode", Value: 216},
				{Key: "appName", Value: r.appName},
			},
		} {
			failures := r.metric("keytail_stream_failures_total")
			mend := r.failpoint("alwaysOn", data)
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
				return r.metric("keytail_stream_failures_total") > failures
			}, name, ": the stream did not fail")
			r.set(k, "is_active", false)
			mend()
			r.waitForCode(k, apikey.Disabled)
			r.set(k, "is_active", true)
			r.waitForCode(k, apikey.Valid)
			r.waitUntilCached(k)
			t.Log("resumed after ", name)
		}
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			return r.metric("keytail_stream_opens_total", "resumed") > 0
		}, "the outer loop did not resume")
		if losses := r.metric("keytail_losses_total"); losses != 0 {
			t.Errorf("got %v losses, want an exact resume", losses)
		}
	})
}

func TestKeysAreReadAgainAfterALoss(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		r.failpoint(bson.D{{Key: "times", Value: 1}}, bson.D{
			{Key: "failCommands", Value: bson.A{"getMore"}},
			{Key: "errorCode", Value: 286},
			{Key: "appName", Value: r.appName},
		})
		r.set(k, "is_active", false)
		r.waitForCode(k, apikey.Disabled)
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			return r.metric("keytail_losses_total", "history_lost") == 1
		}, "got no loss, want one")
		r.set(k, "is_active", true)
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
	})
}

// failpoint makes commands fail until the returned function is called or the test ends.
func (r *fixture) failpoint(mode any, data bson.D) func() {
	r.t.Helper()
	admin := r.server.Client(r.t, "operator").Database("admin")
	command := func(mode any) error {
		return admin.RunCommand(context.Background(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: data},
		}).Err()
	}
	if err := command(mode); err != nil {
		r.t.Fatal(err)
	}
	off := func() {
		if err := command("off"); err != nil {
			r.t.Errorf("cannot switch the failpoint off: %v", err)
		}
	}
	r.t.Cleanup(off)
	return off
}

func TestIDsOfEveryKind(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		ids := []any{
			"text", bson.NewObjectID(), int32(7), int64(1) << 40,
			bson.Binary{Subtype: bson.TypeBinaryUUID, Data: slices.Repeat([]byte{7}, 16)},
		}
		for _, id := range ids {
			text, err := apikey.Generate(apikey.DefaultPrefix, nil)
			if err != nil {
				t.Fatal(err)
			}
			k := key{text: text}
			d := k.document()
			d[0].Value = id
			if _, err := r.keys.InsertOne(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			r.waitForCode(k, apikey.Valid)
			r.waitUntilCached(k)
			if _, err := r.keys.UpdateByID(t.Context(), id, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}}); err != nil {
				t.Fatal(err)
			}
			r.waitForCode(k, apikey.Disabled)
		}
	})
}

func TestStartRejectsAnUnsuitableCollection(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		database := s.Database(t)
		client := s.Client(t)
		begin := func(collection string, ensure bool) error {
			schema := keystore.DefaultSchema()
			schema.Collection = collection
			_, err := daemon.New(t.Context(), daemon.Config{Config: service.Config{Client: client, Database: database, Schema: schema, EnsureSchema: ensure, CacheSizeMiB: 8}})
			return err
		}
		if err := client.Database(database).CreateCollection(t.Context(), "apikeys"); err != nil {
			t.Fatal(err)
		}
		if err := begin("api_keys", false); !errors.Is(err, keystore.ErrCollectionMissing) {
			t.Errorf("missing collection: %v", err)
		}
		if err := begin("apikeys", false); !errors.Is(err, keystore.ErrNoUniqueIndex) {
			t.Errorf("missing index: %v", err)
		}
		if err := begin("apikeys", true); err != nil {
			t.Errorf("with ensure: %v", err)
		}
		if err := begin("apikeys", false); err != nil {
			t.Errorf("after ensure: %v", err)
		}
	})
}

func TestNewReportsEveryMistake(t *testing.T) {
	_, err := daemon.New(context.Background(), daemon.Config{
		Config: service.Config{CacheSizeMiB: 1}, KeySources: []string{"nonsense"}, TrustedProxies: []string{"nonsense"},
	})
	if err == nil || len(strings.Split(err.Error(), "\n")) < 4 {
		t.Fatalf("got %v, want four mistakes", err)
	}
}
