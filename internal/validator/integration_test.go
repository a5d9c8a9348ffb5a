package validator

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// patience is the time limit of one step of a test on a busy machine.
const patience = 30 * time.Second

// instance is a validator over a real store. Its stream has been opened and then
// delivers nothing: only reads show changes.
type instance struct {
	*Validator
	t      *testing.T
	cache  *keycache.Cache
	client *mongo.Client // of another program
	keys   *mongo.Collection
}

// newInstance makes a instance whose freshness has this age.
func newInstance(t *testing.T, s *mongotest.Server, age time.Duration, change ...func(*Config)) *instance {
	t.Helper()
	name := s.Database(t)
	outsider := s.Client(t, "outsider")
	instance := &instance{t: t, client: outsider, keys: mongotest.CreateAPIKeys(t, outsider.Database(name))}
	store, err := keystore.New(keystore.Config{Client: s.Client(t, "keytail"), Database: name})
	if err != nil {
		t.Fatal(err)
	}
	if instance.cache, err = keycache.New(keycache.Config{SizeMiB: 3, Slots: 1 << 10}); err != nil {
		t.Fatal(err)
	}
	instance.cache.Open(1)
	instance.cache.Fresh(keycache.Freshness{AsOf: time.Now().Add(-age), Processed: 1})
	config := Config{Cache: instance.cache, Store: store, ReadTimeout: patience, Heartbeater: &outsidersHeartbeater{instance}}
	for _, f := range change {
		f(&config)
	}
	if instance.Validator, err = New(config); err != nil {
		t.Fatal(err)
	}
	return instance
}

// write changes the keys and returns the revision.
func (s *instance) write(do func(ctx context.Context) error) uint64 {
	s.t.Helper()
	at, err := s.timed(s.t.Context(), do)
	if err != nil {
		s.t.Fatal(err)
	}
	return uint64(at)
}

// timed makes one or more writes and returns the time of the last one.
func (s *instance) timed(ctx context.Context, do func(ctx context.Context) error) (clustertime.Time, error) {
	session, err := s.client.StartSession()
	if err != nil {
		return 0, err
	}
	defer session.EndSession(ctx)
	if err := do(mongo.NewSessionContext(ctx, session)); err != nil {
		return 0, err
	}
	at := session.OperationTime()
	return clustertime.New(at.T, at.I), nil
}

func (s *instance) put(active bool) uint64 {
	s.t.Helper()
	return s.write(func(ctx context.Context) error {
		_, err := s.keys.InsertOne(ctx, bson.D{
			{Key: "_id", Value: "k1"},
			{Key: "key_hash", Value: hash.Hex()},
			{Key: "user_id", Value: "u1"},
			{Key: "is_active", Value: active},
		})
		return err
	})
}

func (s *instance) setActive(active bool) uint64 {
	s.t.Helper()
	return s.write(func(ctx context.Context) error {
		_, err := s.keys.UpdateByID(ctx, "k1", bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: active}}}})
		return err
	})
}

func (s *instance) validate(revision uint64) apikey.Verdict {
	return s.Validate(s.t.Context(), text, &apikey.Request{MinRevision: revision})
}

// outsidersHeartbeater makes its own write as a heartbeat, and returns its
// time.
type outsidersHeartbeater struct{ instance *instance }

func (p *outsidersHeartbeater) Beat(ctx context.Context) (clustertime.Time, error) {
	return p.instance.timed(ctx, func(ctx context.Context) error {
		_, err := p.instance.keys.Database().Collection("beats").InsertOne(ctx, bson.D{})
		return err
	})
}

const tooOld = keycache.DefaultMaxStale + time.Minute

func TestWhileStaleTheDatabaseAnswers(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := newInstance(t, server, tooOld)
		mustBe(t, s.validate(0), apikey.NotFound, apikey.SourceLinearizable)
		s.put(true)
		for range 3 {
			mustBe(t, s.validate(0), apikey.Valid, apikey.SourceLinearizable)
			s.setActive(false)
			v := s.validate(0)
			mustBe(t, v, apikey.Disabled, apikey.SourceLinearizable)
			if v.Staleness > patience || time.Since(v.AsOf) > patience {
				t.Fatalf("got %+v", v)
			}
			s.setActive(true)
		}
		// A missing collection is not NOT_FOUND, and not a sign of an outage
		// either.
		if err := s.keys.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustBe(t, s.validate(0), apikey.Unavailable, apikey.SourceNone)
		if s.Down() {
			t.Fatal("down, though the database answers")
		}
	})
}

func TestAKeyIsRefusedByEveryInstanceAfterItsRevocation(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		for name, age := range map[string]time.Duration{"live": 0, "stale": tooOld} {
			source := map[string]apikey.Source{"live": apikey.SourceDirect, "stale": apikey.SourceLinearizable}[name]
			s := newInstance(t, server, age, func(c *Config) {
				if name == "live" {
					// The rig's stream is silent; the rig stays live for the
					// time of the test.
					c.Now = fixed(time.Now())
				}
			})
			s.put(true)
			if v := s.validate(0); v.Code != apikey.Valid {
				t.Fatalf("%s: got %+v", name, v)
			}
			for range 3 {
				revoked := s.setActive(false)
				v := s.validate(revoked)
				mustBe(t, v, apikey.Disabled, source)
				if v.Revision < revoked {
					t.Fatalf("%s: revision %x of an answer that has %x in it", name, v.Revision, revoked)
				}
				restored := s.setActive(true)
				mustBe(t, s.validate(restored), apikey.Valid, source)
			}
		}
	})
}

func fixed(now time.Time) func() time.Time { return func() time.Time { return now } }

func TestAMadeUpRevisionIsRejected(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		for name, age := range map[string]time.Duration{"live": 0, "stale": tooOld} {
			if name == "live" && !server.RefusesFuture {
				t.Log("the server answers reads of the future: only a stale instance finds it out here")
				continue
			}
			s := newInstance(t, server, age, func(c *Config) { c.ReadTimeout = 2 * time.Second })
			at := clustertime.Time(s.put(true))
			// Without an answer of the database in time, it is an outage like
			// any other.
			mongotest.Eventually(t, patience, func() bool {
				v := s.validate(uint64(clustertime.New(at.Seconds()+3600, 1)))
				mustBe(t, v, apikey.Unavailable, apikey.SourceNone)
				return v.Problem == apikey.RevisionAhead
			}, name, ": it is not found out")
			if v := s.validate(uint64(at)); v.Code != apikey.Valid {
				t.Fatalf("%s: afterwards got %+v", name, v)
			}
		}
	})
}

// A replica set without a majority answers majority reads from an old snapshot,
// in which a revoked key is valid; 503 is the correct answer.
func TestWithoutAMajorityAStaleInstanceIsUnavailable(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	s := newInstance(t, &server.Server, tooOld, func(c *Config) { c.ReadTimeout = 300 * time.Millisecond })
	s.put(true)
	mustBe(t, s.validate(0), apikey.Valid, apikey.SourceLinearizable)
	server.Node.HoldMajority()
	defer server.Node.ReleaseMajority()
	for range 2 {
		mustBe(t, s.validate(0), apikey.Unavailable, apikey.SourceNone)
		if !s.Down() {
			t.Fatal("not down")
		}
	}
	server.Node.ReleaseMajority()
	mongotest.Eventually(t, patience, func() bool { return s.validate(0).Code == apikey.Valid }, "linearizable reads do not succeed again")
	if s.Down() {
		t.Fatal("still down")
	}
}
