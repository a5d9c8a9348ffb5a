package integration

import (
	"net/http"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// begin creates a daemon on a new database without running it, and returns the error.
func begin(t *testing.T, s *mongotest.Server, change func(*daemon.Config)) error {
	t.Helper()
	database := s.Database(t)
	mongotest.CreateAPIKeys(t, s.Client(t).Database(database))
	config := daemon.Config{Config: service.Config{Client: s.Client(t, "keytail-"+database), Database: database, Schema: keystore.DefaultSchema(), CacheSizeMiB: 8}}
	change(&config)
	_, err := daemon.New(t.Context(), config)
	return err
}

func inCollection(c *daemon.Config) { c.StreamScope = mongotest.ScopeCollection }

func TestCollectionScopeNeedsTokensInMongoDBsLayout(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		err := begin(t, s, inCollection)
		if s.MongoDBTokens {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), "start with --stream-scope database") {
			t.Errorf("got %v", err)
		}
	})
}

// TestHeartbeatsInAnotherDatabase: the database of the keys has no collection of keytail.
func TestHeartbeatsInAnotherDatabase(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		if !s.MongoDBTokens {
			return // TestCollectionScopeNeedsTokensInMongoDBsLayout
		}
		state := s.Database(t)
		r := start(t, s, withShortMaxStale, inCollection, func(c *daemon.Config) { c.StateDatabase = state })
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		r.set(k, "is_active", false)
		r.waitForCode(k, apikey.Disabled)
		r.mustBeReady("?strict=1", http.StatusOK, "live")
		names, err := r.db.ListCollectionNames(t.Context(), bson.D{})
		if err != nil || len(names) != 1 {
			t.Errorf("collections beside the keys: got %v, %v", names, err)
		}
		var beat struct{ NS string }
		if err := r.db.Client().Database(state).Collection("keytail_heartbeats").FindOne(t.Context(), bson.D{}).Decode(&beat); err != nil || beat.NS != r.db.Name()+".api_keys" {
			t.Errorf("heartbeat: got namespace %q, %v", beat.NS, err)
		}
	})
}

func TestContradictoryScopesAreRejected(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for name, c := range map[string]struct {
			change func(*daemon.Config)
			words  string
		}{
			"unknown":        {func(c *daemon.Config) { c.StreamScope = "cluster" }, "--stream-scope"},
			"state database": {func(c *daemon.Config) { c.StateDatabase = "elsewhere" }, "--state-database"},
			"server's own": {func(c *daemon.Config) {
				c.StreamScope, c.StateDatabase = mongotest.ScopeCollection, "admin"
			}, "--state-database"},
			"in the way": {func(c *daemon.Config) { c.Schema.Collection = "keytail_heartbeats" }, "keytail_heartbeats"},
		} {
			if err := begin(t, s, c.change); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestMissingPrivilegesAreNamed checks the errors without a privilege. devmongo has no
// privileges: it refuses the command that needs one.
func TestMissingPrivilegesAreNamed(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	admin := d.Client(t, "operator").Database("admin")
	command := func(mode any, name string) {
		t.Helper()
		if err := admin.RunCommand(t.Context(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: mode},
			{Key: "data", Value: bson.D{{Key: "failCommands", Value: bson.A{name}}, {Key: "errorCode", Value: 13}}},
		}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, scope := range testkit.Scopes {
		for _, c := range []struct {
			command string
			words   []string
		}{
			{"find", []string{"is not allowed", "grant"}},
			{"listIndexes", []string{"is not allowed", "grant"}},
			{"update", []string{"heartbeats", "two ways", "--state-database"}},
			{"delete", []string{"heartbeats", "two ways", "--state-database"}},
			{"createIndexes", []string{"heartbeats", "two ways", "--state-database"}},
			{"aggregate", []string{"find and changeStream"}},
		} {
			database := d.Database(t)
			mongotest.CreateAPIKeys(t, d.Client(t).Database(database))
			command("alwaysOn", c.command)
			_, err := daemon.New(t.Context(), daemon.Config{Config: service.Config{
				Client: d.Client(t), Database: database, CacheSizeMiB: 8, StreamScope: changestream.Scope(scope),
			}})
			command("off", c.command)
			if err == nil {
				t.Errorf("%s, %s: got no error", scope, c.command)
				continue
			}
			t.Logf("%s, without %s: %v", scope, c.command, err)
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s, %s: %q does not mention %q", scope, c.command, err, word)
				}
			}
		}
	}
}
