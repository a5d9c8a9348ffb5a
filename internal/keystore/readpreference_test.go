package keystore

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/mongotest"
)

// preferring makes a store read in the background from secondaries, if there are any.
func preferring(preference *readpref.ReadPref) func(*Config) {
	return func(c *Config) { c.ReadPreference = preference }
}

// member is the mode of a find's read preference. Without one the driver sends it to the primary. Over a direct
// connection it sends primaryPreferred in place of primary, which keytail never asks for.
func member(find bson.Raw) string {
	mode, ok := find.Lookup("$readPreference", "mode").StringValueOK()
	if !ok || mode == "primaryPreferred" {
		return "primary"
	}
	return mode
}

func nothing(*Document) error { return nil }

// failOnEachMember is fail for commands that the driver may send to any member of the set: a failpoint belongs to one
// of them. It returns what ends it.
func (d *writeRig) failOnEachMember(t *testing.T, mode any, data ...bson.E) (end func()) {
	t.Helper()
	d.server.Needs(t, mongotest.Failpoints)
	var set struct{ Hosts, Passives []string }
	if err := d.server.Client(t).Database("admin").RunCommand(testContext(t), bson.D{{Key: "isMaster", Value: 1}}).Decode(&set); err != nil {
		t.Fatal(err)
	}
	var members []*mongo.Client
	for _, host := range append(set.Hosts, set.Passives...) {
		members = append(members, d.server.Connect(t, d.server.Options("").SetHosts([]string{host}).SetDirect(true)))
	}
	configure := func(mode any) {
		t.Helper()
		for _, member := range members {
			err := member.Database("admin").RunCommand(context.Background(), bson.D{
				{Key: "configureFailPoint", Value: "failCommand"},
				{Key: "mode", Value: mode},
				{Key: "data", Value: append(bson.D{{Key: "appName", Value: d.app}}, data...)},
			}).Err()
			if err != nil {
				t.Error(err)
			}
		}
	}
	end = sync.OnceFunc(func() { configure("off") })
	t.Cleanup(end)
	configure(mode)
	return end
}

// TestOnlyBackgroundReadsUseTheReadPreference: what a request waits for is read from the
// primary, and every read is at or after its cluster time on whichever member.
func TestOnlyBackgroundReadsUseTheReadPreference(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s, preferring(readpref.SecondaryPreferred()))
		ctx := testContext(t)
		at, id := f.insert(t, document(t)), f.Schema().ID(rawValue(t, "key-1"))
		for name, c := range map[string]struct {
			read   func() error
			member string
			after  bool
		}{
			"a scan":              {func() error { return f.Scan(ctx, at, nothing) }, "secondaryPreferred", true},
			"a refresh":           {func() error { _, err := f.FindByIDs(ctx, []apikey.DocID{id}, at); return err }, "secondaryPreferred", true},
			"a fill":              {func() error { _, _, err := f.FindByHash(ctx, testHash, at); return err }, "primary", true},
			"a linearizable read": {func() error { _, _, err := f.FindLinearizable(ctx, testHash); return err }, "primary", false},
		} {
			if err := c.read(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			find := f.wire.lastFind(t)
			if got := member(find); got != c.member {
				t.Errorf("%s reads from %s, want %s", name, got, c.member)
			}
			if _, _, after := find.Lookup("readConcern", "afterClusterTime").TimestampOK(); after != c.after {
				t.Errorf("%s waits for a cluster time: %v", name, after)
			}
		}
	})
}

// TestAScanLeavesASecondaryThatIsBehind: it waits for the scan's cluster time, and the scan for
// it no longer than its limit. With the mode secondary there is no other place.
func TestAScanLeavesASecondaryThatIsBehind(t *testing.T) {
	for mode, moves := range map[readpref.Mode]bool{readpref.SecondaryPreferredMode: true, readpref.NearestMode: true, readpref.SecondaryMode: false} {
		preference, err := readpref.New(mode)
		if err != nil {
			t.Fatal(err)
		}
		store, err := New(Config{Client: &mongo.Client{}, Database: "shop", ReadPreference: preference})
		if err != nil {
			t.Fatal(err)
		}
		if store.backgroundIsMovable != moves {
			t.Errorf("%v: a scan can move to the primary: %v", mode, store.backgroundIsMovable)
		}
	}
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		var w wire
		const app = "a scan of a secondary that is behind"
		f := newFixture(t, s, func(c *Config) {
			c.Client = s.Connect(t, s.Options(app).SetMonitor(w.monitor()))
			c.ReadPreference = readpref.Nearest()
		})
		f.scanStart = 50 * time.Millisecond
		// The primary answers late, too, where another member was asked first.
		(&writeRig{server: s, app: app}).failOnEachMember(t, once(1), commands("find"), bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 5_000})
		if err := f.Scan(testContext(t), 0, nothing); err != nil {
			t.Fatal(err)
		}
		if got := member(w.lastFind(t)); got != "primary" {
			t.Errorf("the scan reads from %s", got)
		}
		if f.logs.FilterMessageSnippet("reads from the primary").Len() != 1 {
			t.Error("the log has nothing about it")
		}
	})
}

// TestAScanAfterAFailedOneReadsFromThePrimary: the member may fail again. The scan after that is on the
// members of the read preference again.
func TestAScanAfterAFailedOneReadsFromThePrimary(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		var w wire
		const app = "a scan whose cursor fails"
		f := newFixture(t, s, func(c *Config) {
			c.Client = s.Connect(t, s.Options(app).SetMonitor(w.monitor()))
			c.ReadPreference = readpref.Nearest()
		})
		var written clustertime.Time // a secondary may be behind
		for i := range 150 {         // more than a first batch
			written = f.insert(t, keyOf(t, fmt.Sprint(i)))
		}
		mend := (&writeRig{server: s, app: app}).failOnEachMember(t, "alwaysOn", commands("getMore"), bson.E{Key: "errorCode", Value: 96})
		for i, want := range []string{"nearest", "primary", "nearest"} {
			err := f.Scan(testContext(t), written, nothing)
			mend()
			if (err != nil) != (i == 0) {
				t.Errorf("scan %d: %v", i, err)
			}
			if got := member(w.lastFind(t)); got != want {
				t.Errorf("scan %d reads from %s, want %s", i, got, want)
			}
		}
		if f.logs.FilterMessageSnippet("so this one reads from the primary").Len() != 1 {
			t.Error("the log has nothing about it")
		}
	})
}
