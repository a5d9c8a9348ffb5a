package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

var failuresEvery = flag.Int("failures.every", 6, "TestEveryErrorCode tries one in so many of the codes, other ones each time; 1: all")

// failureWorkers is the number of services, each on its own server, that share the codes:
// each of them waits most of the time.
const failureWorkers = 10

// loses reports whether the code loses the history in this phase. After a request that
// the server does not understand, another one without the token is tried.
func loses(c testkit.Code, phase string) bool {
	return phase != phaseOpen && (c.Class == "loss" || c.Class == "request")
}

// The phases of a stream.
const (
	phaseOpen, phaseResume, phaseGetMore = "open", "resume", "getMore"
)

// TestEveryErrorCode makes the stream fail with each code, for a while, while it is
// opened, resumed and read. Each time there must be a metric and a log line that names
// the code, the service must recover, and a transient code must not lose the history.
func TestEveryErrorCode(t *testing.T) {
	queue := make(chan func(*failingFixture))
	var workers sync.WaitGroup
	for n := range failureWorkers {
		f := startFailing(t, n)
		workers.Go(func() {
			for try := range queue {
				try(f)
			}
		})
	}
	codes, first := testkit.Codes(t), rand.IntN(*failuresEvery)
	t.Logf("codes number %d, %d, ... of the table", first, first+*failuresEvery)
	for n := first; n < len(codes); n += *failuresEvery {
		c := codes[n]
		for _, phase := range []string{phaseOpen, phaseResume, phaseGetMore} {
			queue <- func(f *failingFixture) { f.try(c, phase) }
		}
	}
	close(queue)
	workers.Wait()
}

// failingFixture is a fixture whose stream a test makes fail.
type failingFixture struct {
	*fixture
	node  *devmongo.Server
	logs  *observer.ObservedLogs
	known key
	// admin sets failpoints.
	admin *mongo.Database
}

func startFailing(t *testing.T, n int) *failingFixture {
	t.Helper()
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	server := d.InScope(testkit.Scopes[n%len(testkit.Scopes)])
	core, logs := observer.New(zapcore.WarnLevel)
	r := &fixture{t: t, server: server, registry: prometheus.NewRegistry(), appName: fmt.Sprint("failing-", n)}
	r.db = server.Client(t, "other-client").Database(server.Database(t))
	r.keys = mongotest.CreateAPIKeys(t, r.db)
	admin := server.Client(t, "operator").Database("admin")
	// Many losses in a row would delay scans, and with them the state live.
	r.Daemon = r.run(r.registry, zap.New(core), withShortMaxStale, func(c *daemon.Config) { c.Preload = "off" })
	f := &failingFixture{fixture: r, node: d.Node, logs: logs, known: r.newKey(), admin: admin}
	r.waitForCode(f.known, apikey.Valid)
	return f
}

// counts are the metrics that a failure must increase. byDriver counts failures after
// which the driver resumed the stream without reporting the code.
type counts struct{ failures, losses, byDriver float64 }

func (f *failingFixture) counts() counts {
	return counts{
		f.metric("keytail_stream_failures_total"), f.metric("keytail_losses_total"),
		f.metric("keytail_stream_failures_total", "get_more", "resumed_by_driver"),
	}
}

// fails makes commands of the service fail with the code, until the next call.
func (f *failingFixture) fails(code int, commands ...any) {
	f.set(bson.D{
		{Key: "configureFailPoint", Value: "failCommand"},
		{Key: "mode", Value: "alwaysOn"},
		{Key: "data", Value: bson.D{
			{Key: "failCommands", Value: bson.A(commands)}, {Key: "errorCode", Value: code}, {Key: "appName", Value: f.appName},
		}},
	})
}

func (f *failingFixture) works() {
	f.set(bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "off"}})
}

// set runs a command, and retries because a step-down closes connections.
func (f *failingFixture) set(command bson.D) {
	var err error
	if !f.within(func() bool { err = f.admin.RunCommand(f.t.Context(), command).Err(); return err == nil }) {
		f.t.Errorf("cannot set a failpoint: %v", err)
	}
}

// try makes the stream fail with one code in one phase, and checks metrics, log and
// recovery. It reports errors, but does not end the goroutine.
func (f *failingFixture) try(c testkit.Code, phase string) {
	name := fmt.Sprintf("code %d at %s (%s scope)", c.Code, phase, f.server.StreamScope)
	commands := []any{"aggregate"}
	switch phase {
	case phaseGetMore:
		commands = []any{"getMore"}
	case phaseOpen:
		before, loss := f.counts().losses, 286
		if c.Code == loss {
			loss = 136 // another one, because a failure has one line in ten seconds
		}
		f.fails(loss, "aggregate", "getMore")
		if !f.within(func() bool { return f.counts().losses > before }) {
			f.t.Errorf("%s: code %d did not cause a loss", name, loss)
		}
	}
	f.logs.TakeAll()
	before := f.counts()
	f.fails(c.Code, commands...)
	if phase == phaseResume {
		f.node.StepDown(0)
		f.node.StepUp()
	}
	noticed := f.within(func() bool {
		now := f.counts()
		return now.failures+now.losses > before.failures+before.losses && (f.logged(c.Code) || now.byDriver > before.byDriver)
	})
	if now := f.counts(); !noticed {
		f.t.Errorf("%s: got %v more failures and %v more losses counted, a log line with the code: %v",
			name, now.failures-before.failures, now.losses-before.losses, f.logged(c.Code))
	}
	f.works()
	since := time.Now()
	if !f.within(func() bool {
		v := f.validate(f.known)
		return v.Code == apikey.Valid && v.AsOf.After(since) && f.state() == "live"
	}) {
		f.t.Errorf("%s: the service did not recover", name)
	}
	if lost := f.counts().losses - before.losses; (lost > 0) != loses(c, phase) {
		f.t.Errorf("%s: got %v losses, for a code of class %q", name, lost, c.Class)
	}
}

// within is mongotest.Eventually for goroutines other than the test's.
func (f *failingFixture) within(cond func() bool) bool {
	deadline := time.Now().Add(testkit.WaitTimeout / 4)
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(5 * time.Millisecond)
	}
	return true
}

// logged reports whether a log line names the code. The digits alone could be part of a
// port.
func (f *failingFixture) logged(code int) bool {
	return f.logs.FilterField(zap.String("code", strconv.Itoa(code))).Len() > 0
}
