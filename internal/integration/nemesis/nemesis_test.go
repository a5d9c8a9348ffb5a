package nemesis

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/service"
)

var (
	nemesisFor  = flag.Duration("nemesis.for", 20*time.Second, "how long TestNemesis makes faults on each server")
	nemesisSeed = flag.Uint64("nemesis.seed", 0, "the plan of TestNemesis's faults; 0: any, which is printed")
	// Shorter than Grace, else it would not do to judge what comes after it.
	nemesisConnect = flag.Duration("nemesis.connect", 2*time.Second, "the connect timeout of the instances' clients; the driver's own is 30s")
	nemesisFaults  = flag.String("nemesis.faults", "", "the kinds of faults, joined by |; empty: all")
	nemesisLogs    = flag.Bool("nemesis.logs", false, "show the instances' logs")
)

const (
	nemesisInstances = 3
	// nemesisMaxStale is short, so that within a minute the caches become stale more than
	// once.
	nemesisMaxStale = 6 * time.Second
	// nemesisAvailable is the least part of the answers outside faults that is
	// not UNAVAILABLE.
	nemesisAvailable = 0.999
	// healthyTime is how long nothing is broken at first, to measure by.
	healthyTime = 3 * time.Second
	// registerTimeout bounds what porcupine may take, far above what it does.
	registerTimeout = 20 * time.Second
	// convergence is how soon after the last fault all verdicts are right again.
	convergence = 5 * time.Second
)

// cacheSizes of the instances, in MiB. The last one is too small for ballast.
var cacheSizes = []int{64, 64, 3}

// mayEvict reports whether an instance may evict entries.
func mayEvict(number int) bool { return cacheSizes[number%len(cacheSizes)] < 64 }

// instance is one of the fleet, with its own connection to the server.
type instance struct {
	testkit.Daemon
	name, appName string
	proxy         proxied
	registry      *prometheus.Registry
}

// testbed is a server with a fleet of instances on it.
type testbed struct {
	t      *testing.T
	server *mongotest.Server
	keys   *mongo.Collection
	// once is the same by a client without retries: a retry would hide what a failure has
	// done.
	once      *mongo.Collection
	instances []*instance
	faults    map[string]fault
	// forget makes all instances lose their history, and gives them time to scan.
	// Nil: the server cannot be made to.
	forget func()
	// devmongo is the server, if it is that one.
	devmongo *mongotest.Devmongo
	// only are the kinds of faults to make, at this pace. Nil: all.
	only []string
	pace nemesis.Pace
}

// histories are the faults of which twenty seconds of all kinds show too few.
// Twenty seconds of these have each of them once.
var histories = []string{
	"restored in place", "restored in place, quiet", "slow resumes", "clocks apart", "forged heartbeats",
	"unique index dropped, duplicates", "hashes in arrays",
}

// TestNemesis makes faults on each server in turn, while keys are written and
// validated: `go test -run Nemesis ./internal/integration/nemesis -nemesis.for 30m -nemesis.seed 1`.
func TestNemesis(t *testing.T) {
	seed := anySeed(*nemesisSeed)
	t.Run(mongotest.NameDevmongo, func(t *testing.T) {
		checkLeaks(t, func(t *testing.T) {
			// The oplog is short: a stream that is interrupted for ten seconds loses its place.
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newTestbed(t, &d.Server)
			a.devmongo = d
			a.run(seed, *nemesisFor)
		})
	})
	t.Run(mongotest.NameDevmongo+", collection scope", func(t *testing.T) {
		checkLeaks(t, func(t *testing.T) {
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newTestbed(t, d.InScope(mongotest.ScopeCollection))
			a.devmongo = d
			// Half as long: the gate must not grow with each scope.
			a.run(seed, *nemesisFor/2)
		})
	})
	t.Run(mongotest.NameDevmongo+", histories", func(t *testing.T) {
		if *nemesisFaults != "" {
			t.Skip("the faults are chosen by -nemesis.faults")
		}
		checkLeaks(t, func(t *testing.T) {
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newTestbed(t, d.InScope(testkit.Scopes[seed%2]))
			a.devmongo, a.only, a.pace = d, histories, nemesis.Dense()
			a.run(seed, *nemesisFor)
		})
	})
	t.Run(mongotest.NameSecantus, func(t *testing.T) {
		checkLeaks(t, func(t *testing.T) {
			s := mongotest.StartSecantus(t, mongotest.SecantusConfig{})
			a := newTestbed(t, &s.Server)
			maps.Copy(a.faults, secantusFaults(t, s))
			a.run(seed, *nemesisFor)
		})
	})
}

// checkLeaks runs f with its cleanups, and then looks for goroutines and
// files that were not there before.
func checkLeaks(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	before, err := nemesis.OpenFiles()
	if err != nil {
		t.Fatal(err)
	}
	options := append(testkit.ToxiproxyLeaks(), goleak.IgnoreCurrent())
	if !t.Run("run", f) {
		return
	}
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { err = goleak.Find(options...); return err == nil }, "goroutines are left: ", lazyText(func() any { return err }))
	after := 0
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		after, err = nemesis.OpenFiles()
		return err == nil && after <= before+openFilesOfTheRuntime
	}, "files are left")
	t.Logf("files: %d before, %d after", before, after)
}

// lazyText is called when it is printed.
type lazyText func() any

func (l lazyText) String() string { return fmt.Sprint(l()) }

// openFilesOfTheRuntime are those of the network poller, opened at first use.
const openFilesOfTheRuntime = 3

func newTestbed(t *testing.T, s *mongotest.Server) *testbed {
	t.Helper()
	database := s.Database(t)
	a := &testbed{t: t, server: s, pace: nemesis.Sparse(nemesisMaxStale), faults: toxics(t)}
	a.faults["ballast"] = a.overfill
	if s.Failpoints {
		maps.Copy(a.faults, failpoints(t, s))
		maps.Copy(a.faults, streamErrors(t, s))
	}
	a.keys = connectWithShortTimeouts(t, s, "outsider").Database(database).
		Collection("api_keys", options.Collection().SetWriteConcern(writeconcern.Majority()))
	a.make(a.keys)
	once := func(o *options.ClientOptions) { o.SetRetryWrites(false) }
	a.once = connectWithShortTimeouts(t, s, "outsider", once).Database(database).
		Collection(a.keys.Name(), options.Collection().SetWriteConcern(writeconcern.Majority()))
	for i := range nemesisInstances {
		a.instances = append(a.instances, startInstance(t, s, database, i))
	}
	for _, i := range a.instances {
		select {
		case <-i.Live():
		case <-time.After(testkit.WaitTimeout):
			t.Fatalf("%s does not become live", i.name)
		}
	}
	return a
}

func startInstance(t *testing.T, s *mongotest.Server, database string, number int) *instance {
	t.Helper()
	i := &instance{name: instanceName(number), registry: prometheus.NewRegistry()}
	i.appName = "keytail-" + i.name
	i.proxy = startProxy(t, i.name, s)
	logger := zap.NewNop()
	if *nemesisLogs {
		logger = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)).Named(i.name)
	}
	d, err := daemon.New(t.Context(), daemon.Config{
		Config: service.Config{
			Client:            s.Connect(t, i.proxy.options(s, i.appName)),
			Database:          database,
			MaxStale:          nemesisMaxStale,
			HeartbeatInterval: nemesisMaxStale / 12,
			InstanceName:      i.name,
			CacheSizeMiB:      cacheSizes[number%len(cacheSizes)],
			StreamScope:       changestream.Scope(s.StreamScope),
			Usage:             service.UsageOff, // the writers fence with that field
			Logger:            logger,
		},
		Registry: i.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	i.Daemon = testkit.Daemon{Daemon: d}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", i.name, err)
		}
	})
	return i
}

// run makes faults, then waits without any, then drops the collection.
func (a *testbed) run(seed uint64, lasts time.Duration) {
	a.t.Logf("replay the plan with -nemesis.seed %d -nemesis.for %v", seed, *nemesisFor)
	load := startWorkload(a.t, a.writersKeys(), seed, a.validators())
	stopWatching := a.watch(load.history)
	defer stopWatching()
	maps.Copy(a.faults, a.collectionFaults(load))
	a.faults["forged heartbeats"] = a.forgeries(load)
	if a.server.Failpoints {
		a.faults["any code"] = a.randomCode(load)
	}
	if a.devmongo != nil {
		maps.Copy(a.faults, a.devmongoFaults(a.devmongo))
		maps.Copy(a.faults, a.restores(load, a.devmongo))
		maps.Copy(a.faults, a.timeFaults(a.devmongo))
	}
	kinds := a.kinds()
	a.checkWithoutFaults(load, healthyTime)
	began := time.Now()
	for _, step := range nemesis.Plan(seed, lasts, a.pace, kinds, len(a.instances), nemesisMaxStale) {
		if time.Since(began) > lasts {
			break // some faults take longer than planned
		}
		a.after(step.Pause)
		a.inject(load, step)
		if a.reportViolations(load, time.Now().Add(-time.Second)) {
			return
		}
	}
	repaired := time.Now()
	load.stopWriters()
	a.mustConverge(load, repaired.Add(convergence))
	a.after(time.Until(repaired.Add(nemesis.Grace + 2*time.Second)))
	a.reportViolations(load, time.Time{})
	// Without the collection all keys are UNAVAILABLE.
	availability, outages := load.history.Availability(), load.history.Outages()
	a.drop(load)
	load.stop()
	a.reportViolations(load, time.Time{})
	a.report(load.history, availability, outages)
}

func (a *testbed) writersKeys() []*mongo.Collection { return []*mongo.Collection{a.keys, a.once} }

func (a *testbed) validators() []validator {
	validators := make([]validator, len(a.instances))
	for i, instance := range a.instances {
		validators[i] = instance
	}
	return validators
}

// kinds of faults to make, of those that there are.
func (a *testbed) kinds() []string {
	switch {
	case a.only != nil:
		return a.only
	case *nemesisFaults == "":
		return slices.Sorted(maps.Keys(a.faults))
	}
	kinds := strings.Split(*nemesisFaults, "|")
	for _, kind := range kinds {
		if a.faults[kind] == nil {
			a.t.Fatalf("there is no fault %q: use some of %q", kind, slices.Sorted(maps.Keys(a.faults)))
		}
	}
	return kinds
}

// after waits as the plan says.
func (a *testbed) after(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.t.Context().Done():
	}
}

func (a *testbed) inject(load *workload, step nemesis.Step) {
	victims := a.instances
	if step.Victim >= 0 {
		victims = victims[step.Victim : step.Victim+1]
	}
	over := load.history.BeginFault(step.Kind)
	began := time.Now()
	repair := a.faults[step.Kind](victims)
	a.after(step.For)
	repair()
	over()
	a.t.Logf("%s: %s for %v (planned %v), %d victims", began.Format("15:04:05.000"), step.Kind,
		time.Since(began).Round(time.Millisecond), step.For.Round(time.Millisecond), len(victims))
}

// reportViolations reports the violations that the oracle has found, with the key's writes.
func (a *testbed) reportViolations(load *workload, before time.Time) (wrong bool) {
	const most = 20
	found := load.history.CheckUntil(nemesisMaxStale, before)
	for _, v := range found[:min(len(found), most)] {
		a.t.Error(v)
		for _, w := range load.history.WritesOf(v.Answer.Key) {
			a.t.Logf("  %s became %v, sent %v, acknowledged %v", w.Key, w.State,
				w.Sent.Format("15:04:05.000000"), w.Acknowledged.Format("15:04:05.000000"))
		}
	}
	if len(found) > most {
		a.t.Errorf("and %d more", len(found)-most)
	}
	return len(found) > 0
}

// watch records the losses that the instances report, until it is stopped.
func (a *testbed) watch(history *nemesis.History) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for {
			for _, i := range a.instances {
				if loss, ok := i.lastLoss(); ok {
					history.AddLoss(i.name, loss)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
		}
	})
	return func() { cancel(); group.Wait() }
}

func (i *instance) lastLoss() (nemesis.Loss, bool) {
	recorder := httptest.NewRecorder()
	i.Operations().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	var status struct {
		LastLoss *struct {
			At     time.Time `json:"at"`
			Reason string    `json:"reason"`
		} `json:"last_loss"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &status); err != nil || status.LastLoss == nil {
		return nemesis.Loss{}, false
	}
	return nemesis.Loss(*status.LastLoss), true
}

// databaseState is every subject's state by its document, decoded by keytail but without
// the rest of it.
func (a *testbed) databaseState(subjects []subject) (map[string]apikey.Code, error) {
	ctx, cancel := context.WithTimeout(context.Background(), convergence)
	defer cancel()
	cursor, err := a.keys.Find(ctx, bson.D{})
	if err != nil {
		return nil, err
	}
	var documents []bson.Raw
	if err := cursor.All(ctx, &documents); err != nil {
		return nil, err
	}
	byHash := map[apikey.Hash]apikey.Code{}
	for _, raw := range documents {
		d := keystore.DefaultSchema().Decode(raw)
		byHash[d.Hash] = apikey.Decide(&d.Record, &apikey.Request{Scopes: []string{"read"}}, time.Now())
	}
	result := map[string]apikey.Code{}
	for _, s := range subjects {
		result[s.text] = apikey.NotFound
		if code, found := byHash[apikey.HashOf(s.text)]; found {
			result[s.text] = code
		}
	}
	return result, nil
}

// mustConverge validates every key at every instance until all answers are those of the
// database.
func (a *testbed) mustConverge(load *workload, deadline time.Time) {
	a.t.Helper()
	began := time.Now()
	subjects := load.all()
	for {
		want, err := a.databaseState(subjects)
		differ := []string{fmt.Sprint("the database: ", err)}
		if err == nil {
			differ = a.differences(subjects, want)
		}
		if len(differ) == 0 {
			a.t.Logf("%d keys on %d instances as in the database after %v", len(subjects), len(a.instances), time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Now().After(deadline) {
			a.t.Errorf("%d answers differ from the database: %s", len(differ), strings.Join(differ[:min(len(differ), 10)], "; "))
			return
		}
	}
}

func (a *testbed) differences(subjects []subject, want map[string]apikey.Code) []string {
	differ := make([][]string, len(a.instances))
	var group sync.WaitGroup
	for n, i := range a.instances {
		group.Go(func() {
			for _, s := range subjects {
				answer := validate(context.Background(), i.name, i, s)
				if answer.Code != want[s.text] {
					differ[n] = append(differ[n], fmt.Sprintf("%s says %v for %s (%v old, cached %v), the database %v",
						i.name, answer.Code, s.label, answer.Staleness, answer.Cached, want[s.text]))
				}
				if answer.Code == apikey.Unavailable {
					return // the others would be as slow
				}
			}
		})
	}
	group.Wait()
	return slices.Concat(differ...)
}

// drop drops the collection and creates an empty one: no key may be known then, and none
// may be VALID for longer than max_stale.
func (a *testbed) drop(load *workload) {
	a.t.Helper()
	over := load.history.BeginFault("drop")
	repair := a.collectionFaults(load)["drop"](nil)
	subjects := load.all()
	nothing := map[string]apikey.Code{}
	for _, s := range subjects {
		nothing[s.text] = apikey.Unavailable
	}
	mongotest.Eventually(a.t, testkit.WaitTimeout, func() bool { return len(a.differences(subjects[:1], nothing)) == 0 },
		"a collection that is missing is not an outage")
	repair()
	over()
	a.mustConverge(load, time.Now().Add(convergence))
}

// all are the keys whose documents are known.
func (a *workload) all() []subject {
	a.mutex.RLock()
	defer a.mutex.RUnlock()
	return slices.DeleteFunc(slices.Concat(a.quiet, a.subjects), func(s subject) bool { return s.label == unrelatedLabel })
}

func (a *testbed) report(history *nemesis.History, availability nemesis.Availability, outages []nemesis.Outage) {
	a.t.Helper()
	totals := history.Totals()
	rules := map[string]int{}
	for _, v := range history.Check(nemesisMaxStale) {
		rules[v.Rule]++
	}
	var names []string
	for _, i := range a.instances {
		names = append(names, i.name)
	}
	outside, inside := history.Delays(names)
	register := history.CheckRegister(registerTimeout)
	var faults []string
	for _, kind := range slices.Sorted(maps.Keys(totals.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, totals.Faults[kind]))
	}
	a.t.Logf(`totals
answers              %d
writes               %d, of unknown outcome %d
faults               %s
losses               %d
receipts             %d, false %d
late acceptances     %d
false ages           %d
too old, withheld    %d, %d
available outside    %v
  within %v after    %v
  within faults      %v
  quiet keys then    %v
revocation delay     %v
  within faults      %v
as a register        %v`,
		totals.Answers, totals.Writes, totals.UnknownWrites, strings.Join(faults, ", "), totals.Losses,
		totals.Acknowledgements, rules[nemesis.FalseAcknowledgement],
		rules[nemesis.LateAcceptance], rules[nemesis.FalseAge], rules[nemesis.TooOld], rules[nemesis.Withheld],
		availability.Outside, nemesis.Grace, availability.After, availability.Inside, availability.Quiet,
		outside, inside, register)
	if len(register.Wrong) > 0 {
		a.t.Error("answers contradict each other: ", register)
	}
	if len(register.Undecided) > 0 || register.LeftOut > 0 {
		a.t.Log("!!! not all answers were held against a register: ", register)
	}
	for _, outage := range outages {
		a.t.Log(outage)
	}
	if availability.Outside.Available() < nemesisAvailable {
		a.t.Errorf("outside faults only %v were answered", availability.Outside)
	}
}

// anySeed is the seed of the flag, or a random one.
func anySeed(seed uint64) uint64 {
	if seed == 0 {
		return rand.Uint64()
	}
	return seed
}
