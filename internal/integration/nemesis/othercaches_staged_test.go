package nemesis

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/nemesis/othercaches"
)

// stage is one instance of a cache, one key, and the history of both.
type stage struct {
	*testing.T
	d       *mongotest.Devmongo
	keys    *mongo.Collection
	admin   *mongo.Database
	i       *instance
	history *nemesis.History
	// key is the key of the current attempt, and want its state in the database.
	key  subject
	want apikey.Code
}

// stagings are dangerous orders of events. Each is forced on caches that must answer wrongly then, and on
// caches that must not.
var stagings = []struct {
	name         string
	wrong, right []string
	// act does it. False: the order of events was another one, and it has to be done again.
	act func(*stage) bool
}{
	{"revoked while a read of it is under way", []string{"stream", "stream-emptied"}, []string{othercaches.Keytail}, (*stage).overlap},
	{"revoked while no stream is open", []string{"stream"}, []string{"stream-emptied", othercaches.Keytail}, (*stage).revokeInGap},
	{"revoked without any fault", []string{"ttl", "loading"}, []string{"stream", othercaches.Keytail}, (*stage).revokeCached},
	{"asked for before it is created", []string{"ttl", "loading"}, []string{othercaches.Keytail}, (*stage).createLate},
	{"a read of it fails", []string{"loading"}, []string{"ttl", othercaches.Keytail}, (*stage).failRead},
	{"revoked while last_used cannot be written", []string{"cleared"}, []string{othercaches.Keytail}, (*stage).failWrites},
}

// stagedBound is the bound that a wrong answer of a staging must exceed.
const stagedBound = 500 * time.Millisecond

// TestStagedOnOtherCaches shows what each cache cannot do, without luck: the oracle must find a wrong answer
// of every cache for which the order of events is dangerous. The others, and keytail, must come to the right
// answer, and the oracle must find nothing wrong on the way.
func TestStagedOnOtherCaches(t *testing.T) {
	for _, c := range stagings {
		for _, name := range c.wrong {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, name)
				s.play(c.act)
				var found []nemesis.Violation
				mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
					if s.ask().Code == s.want {
						s.play(c.act) // the order of events was another one, on a busy machine
					}
					found = s.history.Check(stagedBound)
					return len(found) > 0
				}, "the oracle finds nothing wrong")
				t.Log(found[0])
			})
		}
		for _, name := range c.right {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, name)
				s.play(c.act)
				mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return s.ask().Code == s.want }, "never answers ", s.want)
				for _, v := range s.history.Check(nemesisMaxStale) {
					t.Error(v)
				}
			})
		}
	}
}

func newStage(t *testing.T, name string) *stage {
	t.Helper()
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	database := d.Database(t)
	s := &stage{T: t, d: d, history: nemesis.NewHistory()}
	s.keys = mongotest.CreateAPIKeys(t, d.Client(t).Database(database))
	s.admin = d.Client(t).Database("admin")
	start := startKeytail
	for _, k := range othercaches.Kinds() {
		if k.Name == name {
			start = startOther(k)
		}
	}
	s.i = start(t, &d.Server, database, 0)
	if s.i.keytail != nil {
		<-s.i.keytail.Live()
	}
	return s
}

// play acts until the order of events was the dangerous one.
func (s *stage) play(act func(*stage) bool) {
	s.Helper()
	mongotest.Eventually(s, testkit.WaitTimeout, func() bool {
		s.key = newSubject("key", false)
		s.history = nemesis.NewHistory()
		return act(s)
	}, "the order of events cannot be forced")
}

func (s *stage) ask() nemesis.Answer {
	answer := validate(s.Context(), s.i.name, s.i, s.key)
	s.history.AddAnswer(answer)
	return answer
}

// mustCache asks until the cache answers VALID without a read.
func (s *stage) mustCache() {
	s.Helper()
	mongotest.Eventually(s, testkit.WaitTimeout, func() bool {
		answer := s.ask()
		return answer.Code == apikey.Valid && answer.Cached
	}, "a valid key is never answered from the cache")
}

// write does a write, and records it.
func (s *stage) write(state apikey.Code, do func(ctx context.Context) error) {
	s.Helper()
	acknowledged := s.history.AddWrite(s.key.label, state, time.Now())
	if err := do(s.Context()); err != nil {
		s.Fatal(err)
	}
	acknowledged(time.Now())
	s.want = state
}

func (s *stage) create() {
	s.Helper()
	s.write(apikey.Valid, func(ctx context.Context) error {
		_, err := s.keys.InsertOne(ctx, testkit.Document(s.key.text, s.key.text))
		return err
	})
}

func (s *stage) revoke() {
	s.Helper()
	s.write(apikey.Disabled, func(ctx context.Context) error {
		_, err := s.keys.UpdateByID(ctx, s.key.text, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
		return err
	})
}

// fail makes commands of the instance fail until the returned function is called.
func (s *stage) fail(code int, commands ...any) (repair func()) {
	s.Helper()
	setFailpoint(s.T, s.admin, "alwaysOn", bson.D{
		{Key: "appName", Value: s.i.appName}, {Key: "failCommands", Value: bson.A(commands)}, {Key: "errorCode", Value: code},
	})
	return func() { setFailpoint(s.T, s.admin, "off", nil) }
}

// overlap revokes the key after the server has read it for the cache, and before the cache has the
// reply. The cache sees the event meanwhile.
func (s *stage) overlap() bool {
	s.Helper()
	s.create()
	s.d.Node.DelayReplies(s.i.appName, "find", findsLate)
	defer s.d.Node.DelayReplies("", "", 0)
	before := s.i.commands.finds.Load()
	reply := make(chan nemesis.Answer, 1)
	go func() { reply <- validate(s.Context(), s.i.name, s.i, s.key) }()
	mongotest.Eventually(s, testkit.WaitTimeout, func() bool { return s.i.commands.finds.Load() > before || len(reply) > 0 }, "the cache does not read")
	s.revoke()
	first := <-reply
	s.history.AddAnswer(first)
	// The read may have come too late: then the answer is right.
	return s.i.keytail != nil || first.Code == apikey.Valid
}

// revokeInGap revokes the key while the stream has ended and cannot be resumed.
func (s *stage) revokeInGap() bool {
	s.Helper()
	s.create()
	s.mustCache()
	before := s.i.commands.aggregates.Load()
	repair := s.fail(286, "getMore", "aggregate") // ChangeStreamHistoryLost
	mongotest.Eventually(s, testkit.WaitTimeout, func() bool { return s.i.commands.aggregates.Load() > before }, "the stream does not end")
	s.revoke()
	repair()
	return true
}

func (s *stage) revokeCached() bool {
	s.Helper()
	s.create()
	s.mustCache()
	s.revoke()
	return true
}

func (s *stage) createLate() bool {
	s.Helper()
	s.ask()
	s.create()
	return true
}

// failRead makes the first read of a valid key fail.
func (s *stage) failRead() bool {
	s.Helper()
	s.create()
	repair := s.fail(50, "find") // MaxTimeMSExpired, which the driver does not retry
	s.ask()
	repair()
	return true
}

// failWrites revokes the key while the instance cannot write.
func (s *stage) failWrites() bool {
	s.Helper()
	repair := s.fail(189, "update") // PrimarySteppedDown
	s.Cleanup(repair)
	s.create()
	s.mustCache()
	s.revoke()
	return true
}
