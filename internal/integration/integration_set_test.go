//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// The tests of the tag "integration" break a real replica set, the one that
// KEYTAIL_TEST_MONGODB_URI names, while keys are revoked, restored and validated.
// They need a user with the role root, and a set that nothing else uses:
//
//	KEYTAIL_TEST_MONGODB_URI=mongodb://… go test -tags=integration -p 1 ./...
//
// docker-compose.replset.yml starts such a set. Two more variables allow the tests more:
//
//	KEYTAIL_TEST_MONGODB_RESTARTS=1   a supervisor restarts a node that was shut down
//	KEYTAIL_TEST_MONGOD_PIDS=1,2,3    the nodes are these processes of this machine
const (
	restartsVariable = "KEYTAIL_TEST_MONGODB_RESTARTS"
	pidsVariable     = "KEYTAIL_TEST_MONGOD_PIDS"
)

const (
	// electionTimeout is several elections (electionTimeoutMillis is 10 s).
	electionTimeout = 90 * time.Second
	// recovery is the maximum time from the end of a fault until everything works again.
	recovery = 30 * time.Second
	// nodeTimeout limits a command to a node that may be stopped.
	nodeTimeout = 5 * time.Second
	// integrationKeys is the number of keys that the writers change.
	integrationKeys = 200
)

// Server error codes, from MongoDB's error_codes.yml.
const (
	codeBadValue              = 2
	codeCommandNotFound       = 59
	codeShutdownInProgress    = 91
	codeInterruptedAtShutdown = 11600
)

// replicaSet is the set under test.
type replicaSet struct {
	*mongotest.Server
	t     *testing.T
	admin *mongo.Database
}

// setOf skips t unless there is a set with at least this number of members.
func setOf(t *testing.T, members int) *replicaSet {
	t.Helper()
	s := &replicaSet{Server: mongotest.External(t), t: t}
	s.admin = s.Client(t, "operator").Database("admin")
	if hosts := s.hello().Hosts; len(hosts) < members {
		t.Skipf("the set has the members %q: this needs %d", hosts, members)
	}
	return s
}

// greetingCommand works with every version: 4.4.0 and 4.4.1 have no hello.
const greetingCommand = "isMaster"

// greeting is a node's description of itself and the set.
type greeting struct {
	Hosts             []string `bson:"hosts"`
	Primary           string   `bson:"primary"`
	IsWritablePrimary bool     `bson:"ismaster"`
	Secondary         bool     `bson:"secondary"`
	// TopologyVersion has another ProcessID after a restart.
	TopologyVersion struct {
		ProcessID bson.ObjectID `bson:"processId"`
	} `bson:"topologyVersion"`
}

// hello waits for a primary, and returns its greeting.
func (s *replicaSet) hello() greeting {
	s.t.Helper()
	var g greeting
	mongotest.Eventually(s.t, electionTimeout, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
		defer cancel()
		err := s.admin.RunCommand(ctx, bson.D{{Key: greetingCommand, Value: 1}}).Decode(&g)
		return err == nil && g.IsWritablePrimary
	}, "the set has no primary")
	return g
}

// node returns a direct connection to one member, whatever its state is.
func (s *replicaSet) node(host string) *mongo.Database {
	s.t.Helper()
	opts := s.Options("operator").SetHosts([]string{host}).SetDirect(true)
	return s.Connect(s.t, opts).Database("admin")
}

// greets returns a node's greeting, or an error after a short time.
func greets(node *mongo.Database) (greeting, error) {
	ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
	defer cancel()
	var g greeting
	err := node.RunCommand(ctx, bson.D{{Key: greetingCommand, Value: 1}}).Decode(&g)
	return g, err
}

// restart shuts a member down and waits until another process has replaced it in the set:
// the old one may still answer for a moment.
func (s *replicaSet) restart(host string) {
	s.t.Helper()
	node := s.node(host)
	before, err := greets(node)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := tell(node, bson.D{{Key: "shutdown", Value: 1}, {Key: "timeoutSecs", Value: 10}}); err != nil {
		s.t.Fatal(err)
	}
	mongotest.Eventually(s.t, electionTimeout, func() bool {
		g, err := greets(node)
		return err == nil && g.TopologyVersion.ProcessID != before.TopologyVersion.ProcessID && (g.IsWritablePrimary || g.Secondary)
	}, host, " did not restart")
}

// refused reports whether the server lacks a command or a failpoint.
func refused(err error) bool {
	var server mongo.ServerError
	return errors.As(err, &server) && (server.HasErrorCode(codeCommandNotFound) || server.HasErrorCode(codeBadValue))
}

// allowed skips t unless the variable allows a fault.
func allowed(t *testing.T, variable, otherwise string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Skipf("%s is not set: %s", variable, otherwise)
	}
	return value
}

// faultTest is a service under load on a set in which a test makes faults.
type faultTest struct {
	*load
	set *replicaSet
}

// startFaultTest runs a service with a client like the daemon's.
func (s *replicaSet) startFaultTest() *faultTest { return s.startFaultTestWith(nil, nil) }

// startFaultTestWith is startFaultTest with a monitor of the client, and a read preference. Nil:
// none, and the primary.
func (s *replicaSet) startFaultTestWith(monitor *event.CommandMonitor, preference *readpref.ReadPref) *faultTest {
	s.t.Helper()
	r := start(s.t, s.Server, withShortMaxStale, func(c *daemon.Config) {
		c.ReadPreference = preference
		c.Client = s.Connect(s.t, s.Options("keytail-"+c.Database).
			SetMonitor(monitor).
			SetServerSelectionTimeout(5*time.Second).
			SetConnectTimeout(3*time.Second).
			SetHeartbeatInterval(2*time.Second))
	})
	l := startLoad(s.t, r, integrationKeys)
	l.untilAnswers(2000)
	return &faultTest{l, s}
}

// during makes a fault and repairs it. It returns when the service is live and writes are
// acknowledged again, which must take no longer than recovery.
func (s *faultTest) during(kind string, breakAndMend func()) {
	s.t.Helper()
	from := time.Now()
	breakAndMend()
	mended := time.Now()
	s.untilAcknowledged(20)
	mongotest.Eventually(s.t, recovery, func() bool { return s.state() == "live" }, kind, ": the service does not become live again")
	s.history.AddFault(nemesis.Fault{Kind: kind, From: from, To: time.Now()})
	s.t.Logf("%s: lasted %v, live again %v after it", kind, mended.Sub(from).Round(time.Millisecond), time.Since(mended).Round(time.Millisecond))
	s.untilAnswers(2000)
}

// finish ends the load, and checks all answers against all writes: no answer with a false
// age, no revoked key accepted for longer than max_stale, no valid key refused. All keys
// must have the right verdict within recovery.
func (s *faultTest) finish() {
	s.t.Helper()
	s.stop()
	for _, violation := range s.history.Check(shortMaxStale) {
		s.t.Error(violation)
	}
	s.mustConverge(recovery)
	totals := s.history.Totals()
	if totals.Answers == 0 || totals.Writes == totals.UnknownWrites {
		s.t.Errorf("nothing was checked: %+v", totals)
	}
	s.t.Logf("%d answers, %d of them UNAVAILABLE; %d writes, %d of unknown outcome; losses %v, streams resumed %v",
		totals.Answers, totals.Unavailable, totals.Writes, totals.UnknownWrites,
		s.metric("keytail_losses_total"), s.metric("keytail_stream_opens_total", "resumed"))
}

// primaryLast returns the members in an order that causes one election instead of two.
func primaryLast(g greeting) []string {
	hosts := slices.DeleteFunc(slices.Clone(g.Hosts), func(host string) bool { return host == g.Primary })
	return append(hosts, g.Primary)
}

// tell runs a command on a node that may close the connection, or exit, instead of
// answering.
func tell(node *mongo.Database, command bson.D) error {
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	err := node.RunCommand(ctx, command).Err()
	var server mongo.ServerError
	leaving := errors.As(err, &server) && (server.HasErrorCode(codeShutdownInProgress) || server.HasErrorCode(codeInterruptedAtShutdown))
	if mongo.IsNetworkError(err) || leaving {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", command[0].Key, err)
	}
	return nil
}
