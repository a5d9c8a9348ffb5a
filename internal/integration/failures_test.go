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

// failureWorkers are services, each on a server of its own, that the codes are
// divided among: most of the time is spent waiting.
const failureWorkers = 10

// loses reports whether the code costs the history in this phase. A request that
// the server does not understand is worth another one without the token.
func loses(c testkit.Code, phase string) bool {
	return phase != phaseOpen && (c.Class == "loss" || c.Class == "request")
}

// The phases of a stream.
const (
	phaseOpen, phaseResume, phaseGetMore = "open", "resume", "getMore"
)

// TestEveryErrorCode makes the stream fail with each code, for a while, while it is
// opened, resumed and read. Each time there must be a metric and a line in the log
// that names the code, the service must recover by itself, and a code that passes
// must not cost the history.
func TestEveryErrorCode(t *testing.T) {
	queue := make(chan func(*brittle))
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
			queue <- func(f *brittle) { f.try(c, phase) }
		}
	}
	close(queue)
	workers.Wait()
}

// brittle is a service whose stream fails.
type brittle struct {
	*rig
	node  *devmongo.Server
	logs  *observer.ObservedLogs
	known key
	// admin sets failpoints.
	admin *mongo.Database
}

func startFailing(t *testing.T, n int) *brittle {
	t.Helper()
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	server := d.InScope(testkit.Scopes[n%len(testkit.Scopes)])
	core, logs := observer.New(zapcore.WarnLevel)
	r := &rig{t: t, server: server, registry: prometheus.NewRegistry(), appName: fmt.Sprint("failing-", n)}
	r.db = server.Client(t, "outsider").Database(server.Database(t))
	r.keys = mongotest.CreateAPIKeys(t, r.db)
	admin := server.Client(t, "operator").Database("admin")
	// Many losses in a row would put off scans, and with them the state live.
	r.Daemon = r.run(r.registry, zap.New(core), hasty, func(c *daemon.Config) { c.Preload = "off" })
	f := &brittle{rig: r, node: d.Node, logs: logs, known: r.newKey(), admin: admin}
	r.becomes(f.known, apikey.Valid)
	return f
}

// counts are what a failure must move. byDriver are failures after which the driver
// resumed by itself: it keeps the code to itself.
type counts struct{ failures, losses, byDriver float64 }

func (f *brittle) counts() counts {
	return counts{
		f.metric("keytail_stream_failures_total"), f.metric("keytail_losses_total"),
		f.metric("keytail_stream_failures_total", "get_more", "resumed_by_driver"),
	}
}

// fails makes commands of the service fail with the code, until the next call.
func (f *brittle) fails(code int, commands ...any) {
	f.set(bson.D{
		{Key: "configureFailPoint", Value: "failCommand"},
		{Key: "mode", Value: "alwaysOn"},
		{Key: "data", Value: bson.D{
			{Key: "failCommands", Value: bson.A(commands)}, {Key: "errorCode", Value: code}, {Key: "appName", Value: f.appName},
		}},
	})
}

func (f *brittle) works() {
	f.set(bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "off"}})
}

// set insists: a step-down closes connections.
func (f *brittle) set(command bson.D) {
	var err error
	if !f.within(func() bool { err = f.admin.RunCommand(f.t.Context(), command).Err(); return err == nil }) {
		f.t.Errorf("setting a failpoint: %v", err)
	}
}

// try makes the stream fail with one code in one phase, and checks what is seen of
// that. It reports errors and never ends the goroutine.
func (f *brittle) try(c testkit.Code, phase string) {
	name := fmt.Sprintf("code %d at %s (%s scope)", c.Code, phase, f.server.StreamScope)
	commands := []any{"aggregate"}
	switch phase {
	case phaseGetMore:
		commands = []any{"getMore"}
	case phaseOpen:
		before := f.counts().losses
		f.fails(286, "aggregate", "getMore")
		if !f.within(func() bool { return f.counts().losses > before }) {
			f.t.Errorf("%s: code 286 is no loss", name)
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
		f.t.Errorf("%s: silent: %v more failures and %v more losses are counted, a line that names the code is in the log: %v",
			name, now.failures-before.failures, now.losses-before.losses, f.logged(c.Code))
	}
	f.works()
	since := time.Now()
	if !f.within(func() bool {
		v := f.ask(f.known)
		return v.Code == apikey.Valid && v.AsOf.After(since) && f.state() == "live"
	}) {
		f.t.Errorf("%s: the service does not recover", name)
	}
	if lost := f.counts().losses - before.losses; (lost > 0) != loses(c, phase) {
		f.t.Errorf("%s: %v losses, for a code of class %q", name, lost, c.Class)
	}
}

// within is mongotest.Eventually for a goroutine that is not the test's.
func (f *brittle) within(cond func() bool) bool {
	deadline := time.Now().Add(testkit.Patience / 4)
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(5 * time.Millisecond)
	}
	return true
}

// logged reports whether a line of the log names the code. (Its digits alone could be
// those of a port.)
func (f *brittle) logged(code int) bool {
	return f.logs.FilterField(zap.String("code", strconv.Itoa(code))).Len() > 0
}
