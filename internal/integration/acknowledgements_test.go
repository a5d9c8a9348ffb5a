package integration

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
)

// fleetFixture is three instances on one database; the first is the fixture's daemon.
type fleetFixture struct {
	*fixture
	all []testkit.Daemon
}

// victim begins the application name of the third instance's client.
const victim = "victim"

func startFleet(t *testing.T, s *mongotest.Server, change ...func(*daemon.Config)) *fleetFixture {
	t.Helper()
	name := func(name, app string) []func(*daemon.Config) {
		return append(slices.Clone(change), func(c *daemon.Config) {
			c.InstanceName = name
			if app != "" {
				c.Client = s.Client(t, app)
			}
		})
	}
	r := start(t, s, name("a", "")...)
	all := []testkit.Daemon{r.Daemon}
	all = append(all, r.run(prometheus.NewRegistry(), zap.NewNop(), name("b", "b-"+r.appName)...))
	all = append(all, r.run(prometheus.NewRegistry(), zap.NewNop(), name("c", victim+r.appName)...))
	return &fleetFixture{r, all}
}

// setActive writes as another program would, and returns the operation time of its session.
func (r *fixture) setActive(k key, active bool) clustertime.Time {
	r.t.Helper()
	session, err := r.db.Client().StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		r.t.Fatal(err)
	}
	defer session.EndSession(context.Background())
	_, err = r.keys.UpdateByID(mongo.NewSessionContext(r.t.Context(), session), k.id,
		bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: active}}}})
	if err != nil {
		r.t.Fatal(err)
	}
	at := session.OperationTime()
	return clustertime.New(at.T, at.I)
}

func (r *fixture) sync(revision clustertime.Time, fleet bool, limit time.Duration) routes.SyncResult {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	acknowledgement, err := r.Syncer().Wait(ctx, revision, fleet)
	if err != nil {
		r.t.Fatal(err)
	}
	return acknowledgement
}

// instanceNames returns the first letters of the instances' names.
func instanceNames(acknowledgement routes.SyncResult) (all, missing string) {
	for _, i := range acknowledgement.Instances {
		all += i.ID[:1]
	}
	for _, id := range acknowledgement.Missing {
		missing += id[:1]
	}
	return all, missing
}

func TestAFleetAcknowledgementHolds(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := startFleet(t, s, withShortMaxStale)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		for active, want := range map[bool]apikey.Code{false: apikey.Disabled, true: apikey.Valid} {
			revision := r.setActive(k, active)
			acknowledgement := r.sync(revision, true, testkit.WaitTimeout)
			if all, _ := instanceNames(acknowledgement); !acknowledgement.Synced || all != "abc" {
				t.Fatalf("acknowledgement: got %+v", acknowledgement)
			}
			// Immediately, at every instance, and without min_revision.
			for i, service := range r.all {
				v := service.Validate(t.Context(), k.text, &apikey.Request{})
				if v.Code != want || v.Revision < uint64(revision) {
					t.Errorf("instance %d: got %v at revision %x, want %v at %v as acknowledged", i, v.Code, v.Revision, want, revision)
				}
				if v = service.Validate(t.Context(), k.text, &apikey.Request{MinRevision: uint64(revision)}); v.Code != want {
					t.Errorf("instance %d with min_revision: got %v, want %v", i, v.Code, want)
				}
			}
		}
		revision := r.setActive(k, false)
		if acknowledgement := r.sync(revision, false, testkit.WaitTimeout); !acknowledgement.Synced || len(acknowledgement.Instances) != 1 {
			t.Errorf("acknowledgement of the instance: got %+v", acknowledgement)
		}
		if v := r.validate(k); v.Code != apikey.Disabled || v.Revision < uint64(revision) {
			t.Errorf("after the acknowledgement of the instance: got %v at revision %x", v.Code, v.Revision)
		}
		if _, err := r.Syncer().Wait(t.Context(), revision+1<<40, true); !errors.Is(err, clustertime.ErrRevisionAhead) {
			t.Errorf("a revision in the future: got %v", err)
		}
	})
}

func TestAStoppedInstanceIsMissingUntilItCannotAnswer(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := startFleet(t, s, withShortMaxStale)
		k := r.newKey()
		r.sync(r.setActive(k, true), true, testkit.WaitTimeout)
		r.failpoint("alwaysOn", bson.D{
			{Key: "failCommands", Value: bson.A{"update", "delete"}}, // it cannot even remove its heartbeat
			{Key: "errorCode", Value: 11601},
			{Key: "appName", Value: victim + r.appName},
		})
		// A heartbeat that was sent before may still report it.
		var revision clustertime.Time
		var before routes.SyncResult
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			revision = r.setActive(k, false)
			before = r.sync(revision, true, 500*time.Millisecond)
			_, missing := instanceNames(before)
			return missing == "c"
		}, "the stopped instance is not reported as missing")
		acknowledgement := r.sync(revision, true, testkit.WaitTimeout)
		if all, _ := instanceNames(acknowledgement); !acknowledgement.Synced || all != "ab" {
			t.Fatalf("acknowledgement: got %+v", acknowledgement)
		}
		// Both times come from the server's clock.
		silent := acknowledgement.Instances[0].LastSeen.Sub(before.Instances[2].LastSeen)
		if silent <= shortMaxStale+5*time.Second {
			t.Errorf("the fleet removed the instance after %v without heartbeats, want longer", silent)
		}
		// By then it answers no key from its cache.
		if v := r.all[2].Validate(t.Context(), k.text, &apikey.Request{}); v.Code != apikey.Disabled {
			t.Errorf("stopped instance: got %v", v.Code)
		}
	})
}

// TestDurationOfFleetAcknowledgements measures write acknowledgements of the fleet with one
// heartbeat per second.
func TestDurationOfFleetAcknowledgements(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		const rounds = 3
		r := startFleet(t, s)
		k := r.newKey()
		for _, fleet := range []bool{false, true} {
			took := make([]time.Duration, rounds)
			for i := range took {
				revision := r.setActive(k, i%2 == 0)
				began := time.Now()
				if acknowledgement := r.sync(revision, fleet, testkit.WaitTimeout); !acknowledgement.Synced {
					t.Fatalf("acknowledgement: got %+v", acknowledgement)
				}
				took[i] = time.Since(began)
			}
			slices.Sort(took)
			t.Logf("fleet %v, %d acknowledgements: median %v, maximum %v", fleet, rounds, took[rounds/2], took[rounds-1])
		}
	})
}

func TestEventsOfAService(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		handler, err := routes.NewPublic(routes.PublicConfig{
			Config: forwardauth.Config{Validator: unusedValidator{}}, Events: r.Events(), Callers: soleCaller(""),
		})
		if err != nil {
			t.Fatal(err)
		}
		stream := follow(t, handler)
		stream.expect("resync", `{"reason":"start","state":"live"}`)
		k := r.newKey()
		stream.expect("invalidation", `{"key_id":"`+k.id+`"`)
		if v := r.validate(k); v.Code != apikey.Valid {
			t.Errorf("after the event: got %v", v.Code)
		}
		r.set(k, "is_active", false)
		stream.expect("invalidation", `{"key_id":"`+k.id+`"`)
		if v := r.validate(k); v.Code != apikey.Disabled {
			t.Errorf("after the event: got %v", v.Code)
		}
		if _, err := r.keys.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: k.id}}); err != nil {
			t.Fatal(err)
		}
		stream.expect("invalidation", `{"key_id":"`+k.id+`"`)
		if err := r.keys.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		stream.until("loss", `{"reason":"drop"}`)
		stream.until("state", `{"from":"live"`)
		r.Drain()
		stream.ends()
		if _, err := r.Events().Subscribe(""); !errors.Is(err, events.ErrClosed) {
			t.Errorf("after Drain: %v", err)
		}
	})
}

// unusedValidator is a Validator that is never called.
type unusedValidator struct{}

func (unusedValidator) Validate(context.Context, string, *apikey.Request) apikey.Verdict {
	return apikey.Verdict{}
}
func (unusedValidator) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

var _ routes.Subscription = (*events.Subscription)(nil)
