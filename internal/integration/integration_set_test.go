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
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// The tests of the tag "integration" break a real replica set, the one that
// KEYTAIL_TEST_MONGODB_URI names, while keys are revoked, restored and asked for.
// They want a user that may do everything (root), and the set for themselves:
//
//	KEYTAIL_TEST_MONGODB_URI=mongodb://… go test -tags=integration -p 1 ./...
//
// docker-compose.replset.yml has such a set. Two more variables say what else the
// tests may do:
//
//	KEYTAIL_TEST_MONGODB_RESTARTS=1   something starts a node again that was shut down
//	KEYTAIL_TEST_MONGOD_PIDS=1,2,3    the nodes are these processes of this machine
const (
	restartsVariable = "KEYTAIL_TEST_MONGODB_RESTARTS"
	pidsVariable     = "KEYTAIL_TEST_MONGOD_PIDS"
)

const (
	// electionTimeout is several elections (electionTimeoutMillis is 10 s).
	electionTimeout = 90 * time.Second
	// recovery is how long after the end of a fault everything must be as before.
	recovery = 30 * time.Second
	// nodeTimeout bounds a command to a node that may have been stopped.
	nodeTimeout = 5 * time.Second
	// integrationKeys are flipped by the writers.
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

// setOf skips t unless there is a set with so many members.
func setOf(t *testing.T, members int) *replicaSet {
	t.Helper()
	s := &replicaSet{Server: mongotest.External(t), t: t}
	s.admin = s.Client(t, "operator").Database("admin")
	if hosts := s.hello().Hosts; len(hosts) < members {
		t.Skipf("the set has the members %q: this needs %d", hosts, members)
	}
	return s
}

// greetingCommand is known to every version: 4.4.0 and 4.4.1 have no hello.
const greetingCommand = "isMaster"

// greeting is what a node says of itself and the set.
type greeting struct {
	Hosts             []string `bson:"hosts"`
	Primary           string   `bson:"primary"`
	IsWritablePrimary bool     `bson:"ismaster"`
	Secondary         bool     `bson:"secondary"`
	// TopologyVersion is another one after a restart, by its ProcessID.
	TopologyVersion struct {
		ProcessID bson.ObjectID `bson:"processId"`
	} `bson:"topologyVersion"`
}

// hello asks the primary, and waits for one.
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

// node is one member, whatever it is just now.
func (s *replicaSet) node(host string) *mongo.Database {
	s.t.Helper()
	opts := s.Options("operator").SetHosts([]string{host}).SetDirect(true)
	return s.Connect(s.t, opts).Database("admin")
}

// greets is what a node says when asked directly, within a short time.
func greets(node *mongo.Database) (greeting, error) {
	ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
	defer cancel()
	var g greeting
	err := node.RunCommand(ctx, bson.D{{Key: greetingCommand, Value: 1}}).Decode(&g)
	return g, err
}

// restart shuts a member down and waits until another process has taken its
// place in the set: the old one may still greet for a moment.
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
	}, host, " does not come back")
}

// refused reports whether the server does not have a command or a failpoint.
func refused(err error) bool {
	var server mongo.ServerError
	return errors.As(err, &server) && (server.HasErrorCode(codeCommandNotFound) || server.HasErrorCode(codeBadValue))
}

// allowed skips t unless the variable says that something may be done.
func allowed(t *testing.T, variable, otherwise string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Skipf("%s is not set: %s", variable, otherwise)
	}
	return value
}

// faultTest is a service under load on a set that is about to break.
type faultTest struct {
	*load
	set *replicaSet
}

// startFaultTest runs a service with a client like the daemon's.
func (s *replicaSet) startFaultTest() *faultTest {
	s.t.Helper()
	r := start(s.t, s.Server, withShortMaxStale, func(c *daemon.Config) {
		c.Client = s.Connect(s.t, s.Options("keytail-"+c.Database).
			SetServerSelectionTimeout(5*time.Second).
			SetConnectTimeout(3*time.Second).
			SetHeartbeatInterval(2*time.Second))
	})
	l := startLoad(s.t, r, integrationKeys)
	l.untilAnswers(2000)
	return &faultTest{l, s}
}

// during breaks something and mends it. It goes on when the service is live and
// writes are acknowledged again, which must be within recovery.
func (s *faultTest) during(kind string, breakAndMend func()) {
	s.t.Helper()
	from := time.Now()
	breakAndMend()
	mended := time.Now()
	s.untilAcknowledged(20)
	mongotest.Eventually(s.t, recovery, func() bool { return s.state() == "live" }, kind, ": the service does not become live again")
	s.history.AddFault(nemesis.Fault{Kind: kind, From: from, To: time.Now()})
	s.t.Logf("%s: %v, and live again %v after it", kind, mended.Sub(from).Round(time.Millisecond), time.Since(mended).Round(time.Millisecond))
	s.untilAnswers(2000)
}

// finish ends the load, and holds all that was answered against all that was
// written: no answer older than it said, no revoked key accepted for longer than
// max_stale, no "no" for a key that is good. What the fault left behind must be
// right within recovery.
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

// primaryLast are the members in an order that costs one election and not two.
func primaryLast(g greeting) []string {
	hosts := slices.DeleteFunc(slices.Clone(g.Hosts), func(host string) bool { return host == g.Primary })
	return append(hosts, g.Primary)
}

// tell runs a command on a node that may end the connection, or
// itself, instead of answering.
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
