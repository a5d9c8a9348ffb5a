package keytail_test

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

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// gateSeed is the plan of a run without flags. It is fixed since a gate must say
// the same thing twice: after bandwidth faults on secantus, some plans end with
// seconds of UNAVAILABLE that are not explained yet (issue 6 is open for that).
// Use -nemesis.seed 0 to search.
const gateSeed = 7253735041688260439

var (
	nemesisFor  = flag.Duration("nemesis.for", 20*time.Second, "how long TestNemesis makes faults on each server")
	nemesisSeed = flag.Uint64("nemesis.seed", gateSeed, "the plan of TestNemesis's faults; 0: any, which is printed")
	// Shorter than Grace, else it would not do to judge what comes after it.
	nemesisConnect = flag.Duration("nemesis.connect", 2*time.Second, "the connect timeout of the instances' clients; the driver's own is 30s")
	nemesisLogs    = flag.Bool("nemesis.logs", false, "show the instances' logs")
)

const (
	nemesisInstances = 3
	// nemesisMaxStale is short, so that within a minute memory becomes too old
	// more than once.
	nemesisMaxStale = 6 * time.Second
	// nemesisAvailable is the least part of the answers outside faults that is
	// not UNAVAILABLE.
	nemesisAvailable = 0.999
	// convergence is how soon after the last fault all is right again.
	convergence = 5 * time.Second
)

// instance is one of the fleet, with its own way to the server.
type instance struct {
	*keytail.Service
	name, appName string
	proxy         proxied
}

// arena is a server with a fleet of instances on it.
type arena struct {
	t         *testing.T
	keys      *mongo.Collection
	instances []*instance
	faults    map[string]fault
}

// TestNemesis makes faults on each server in turn, while keys are written and
// asked for: `go test -run Nemesis . -nemesis.for 30m -nemesis.seed 1`.
func TestNemesis(t *testing.T) {
	seed := *nemesisSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Run(mongotest.NameDevmongo, func(t *testing.T) {
		leavesNothing(t, func(t *testing.T) {
			// The log is short: who is away for ten seconds loses its place.
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newArena(t, &d.Server)
			maps.Copy(a.faults, devmongoFaults(d))
			a.run(seed)
		})
	})
	t.Run(mongotest.NameSecantus, func(t *testing.T) {
		leavesNothing(t, func(t *testing.T) {
			s := mongotest.StartSecantus(t, mongotest.SecantusConfig{})
			a := newArena(t, &s.Server)
			maps.Copy(a.faults, secantusFaults(t, s))
			a.run(seed)
		})
	})
}

// leavesNothing runs f with its cleanups, and then looks for goroutines and
// files that were not there before.
func leavesNothing(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	before, err := nemesis.OpenFiles()
	if err != nil {
		t.Fatal(err)
	}
	options := append(leaksOfToxiproxy(), goleak.IgnoreCurrent())
	if !t.Run("run", f) {
		return
	}
	mongotest.Eventually(t, patience, func() bool { err = goleak.Find(options...); return err == nil }, "goroutines are left: ", lazily(func() any { return err }))
	after := 0
	mongotest.Eventually(t, patience, func() bool {
		after, err = nemesis.OpenFiles()
		return err == nil && after <= before+openFilesOfTheRuntime
	}, "files are left")
	t.Logf("files: %d before, %d after", before, after)
}

// lazily is looked at when it is printed.
type lazily func() any

func (l lazily) String() string { return fmt.Sprint(l()) }

// openFilesOfTheRuntime are those of the network poller, opened at first use.
const openFilesOfTheRuntime = 3

func newArena(t *testing.T, s *mongotest.Server) *arena {
	t.Helper()
	database := s.Database(t)
	a := &arena{t: t, faults: toxics(t)}
	if s.Failpoints {
		maps.Copy(a.faults, failpoints(t, s))
	}
	a.keys = mongotest.CreateAPIKeys(t, s.Client(t, "outsider").Database(database))
	for i := range nemesisInstances {
		a.instances = append(a.instances, startInstance(t, s, database, i))
	}
	for _, i := range a.instances {
		select {
		case <-i.Live():
		case <-time.After(patience):
			t.Fatalf("%s does not become live", i.name)
		}
	}
	return a
}

func startInstance(t *testing.T, s *mongotest.Server, database string, number int) *instance {
	t.Helper()
	i := &instance{name: instanceName(number)}
	i.appName = "keytail-" + i.name
	i.proxy = startProxy(t, i.name, s)
	logger := zap.NewNop()
	if *nemesisLogs {
		logger = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)).Named(i.name)
	}
	service, err := keytail.New(t.Context(), keytail.Config{
		Client:            s.Connect(t, i.proxy.options(s, i.appName)),
		Database:          database,
		MaxStale:          nemesisMaxStale,
		HeartbeatInterval: nemesisMaxStale / 12,
		InstanceName:      i.name,
		CacheSizeMiB:      8,
		Logger:            logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	i.Service = service
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", i.name, err)
		}
	})
	return i
}

// run is the whole of it: faults, then peace, then the end of the collection.
func (a *arena) run(seed uint64) {
	a.t.Logf("replay the plan with -nemesis.seed %d -nemesis.for %v", seed, *nemesisFor)
	load := startAssault(a.t, a.keys, seed, a.askers())
	stopWatching := a.watch(load.history)
	defer stopWatching()
	kinds := slices.Sorted(maps.Keys(a.faults))
	for _, step := range nemesis.Plan(seed, *nemesisFor, kinds, len(a.instances), nemesisMaxStale) {
		a.after(step.Pause)
		a.strike(load, step)
		if a.judge(load, time.Now().Add(-time.Second)) {
			return
		}
	}
	mended := time.Now()
	load.stopWriters()
	a.mustConverge(load, mended.Add(convergence))
	a.after(time.Until(mended.Add(nemesis.Grace + 2*time.Second)))
	a.judge(load, time.Time{})
	// The end of the collection is an outage for all keys, as it should be.
	availability, outages := load.history.Availability(), load.history.Outages()
	a.drop(load)
	load.stop()
	a.judge(load, time.Time{})
	a.report(load.history, availability, outages)
}

func (a *arena) askers() []asker {
	askers := make([]asker, len(a.instances))
	for i, instance := range a.instances {
		askers[i] = instance
	}
	return askers
}

// after waits as the plan says.
func (a *arena) after(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.t.Context().Done():
	}
}

func (a *arena) strike(load *assault, step nemesis.Step) {
	victims := a.instances
	if step.Victim >= 0 {
		victims = victims[step.Victim : step.Victim+1]
	}
	over := load.history.Breaks(step.Kind)
	began := time.Now()
	mend := a.faults[step.Kind](victims)
	a.after(step.For)
	mend()
	over()
	a.t.Logf("%s: %s for %v (planned %v), %d victims", began.Format("15:04:05.000"), step.Kind,
		time.Since(began).Round(time.Millisecond), step.For.Round(time.Millisecond), len(victims))
}

// judge shows what the oracle has found, with the key's writes as evidence.
func (a *arena) judge(load *assault, before time.Time) (wrong bool) {
	const most = 20
	found := load.history.Judge(nemesisMaxStale, before)
	for _, v := range found[:min(len(found), most)] {
		a.t.Error(v)
		for _, w := range load.history.WritesOf(v.Answer.Key) {
			a.t.Logf("  %s became %v, sent %v, acknowledged %v", w.Key, w.State,
				w.Sent.Format("15:04:05.000000"), w.Acked.Format("15:04:05.000000"))
		}
	}
	if len(found) > most {
		a.t.Errorf("and %d more", len(found)-most)
	}
	return len(found) > 0
}

// watch notes losses, by the instances' own word, until it is stopped.
func (a *arena) watch(history *nemesis.History) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for {
			for _, i := range a.instances {
				if at, ok := i.lastLoss(); ok {
					history.Lost(i.name, at)
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

func (i *instance) lastLoss() (time.Time, bool) {
	recorder := httptest.NewRecorder()
	i.Operations().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	var status struct {
		LastLoss *struct {
			At time.Time `json:"at"`
		} `json:"last_loss"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &status); err != nil || status.LastLoss == nil {
		return time.Time{}, false
	}
	return status.LastLoss.At, true
}

// truth is every subject's state by the database, found with keytail's own
// reading of a document and nothing else of it.
func (a *arena) truth(subjects []subject) (map[string]apikey.Code, error) {
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

// mustConverge asks every instance about every key until all answers are what
// the database says.
func (a *arena) mustConverge(load *assault, deadline time.Time) {
	a.t.Helper()
	began := time.Now()
	subjects := load.all()
	for {
		want, err := a.truth(subjects)
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

func (a *arena) differences(subjects []subject, want map[string]apikey.Code) []string {
	differ := make([][]string, len(a.instances))
	var group sync.WaitGroup
	for n, i := range a.instances {
		group.Go(func() {
			for _, s := range subjects {
				answer := question(context.Background(), i.name, i, s)
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

// drop ends the collection, and begins it anew: no key may be known then, and
// none may be VALID for longer than max_stale.
func (a *arena) drop(load *assault) {
	a.t.Helper()
	over := load.history.Breaks("drop")
	subjects := load.all()
	acks := make([]func(time.Time), len(subjects))
	for i, s := range subjects {
		acks[i] = load.history.Wrote(s.label, apikey.NotFound, time.Now())
	}
	if err := a.keys.Drop(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	now := time.Now()
	for _, acked := range acks {
		acked(now)
	}
	nothing := map[string]apikey.Code{}
	for _, s := range subjects {
		nothing[s.text] = apikey.Unavailable
	}
	mongotest.Eventually(a.t, patience, func() bool { return len(a.differences(subjects[:1], nothing)) == 0 },
		"a collection that is missing is not an outage")
	mongotest.CreateAPIKeys(a.t, a.keys.Database())
	over()
	a.mustConverge(load, time.Now().Add(convergence))
}

func (a *assault) all() []subject {
	a.mutex.RLock()
	defer a.mutex.RUnlock()
	return slices.Concat(a.quiet, a.subjects)
}

func (a *arena) report(history *nemesis.History, availability nemesis.Availability, outages []nemesis.Outage) {
	a.t.Helper()
	totals := history.Totals()
	rules := map[string]int{}
	for _, v := range history.Check(nemesisMaxStale) {
		rules[v.Rule]++
	}
	var faults []string
	for _, kind := range slices.Sorted(maps.Keys(totals.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, totals.Faults[kind]))
	}
	a.t.Logf(`totals
answers              %d
writes               %d, of unknown outcome %d
faults               %s
losses               %d
late acceptances     %d
false ages           %d
too old, withheld    %d, %d
available outside    %v
  within %v after    %v
  within faults      %v
  quiet keys then    %v`,
		totals.Answers, totals.Writes, totals.UnknownWrites, strings.Join(faults, ", "), totals.Losses,
		rules[nemesis.LateAcceptance], rules[nemesis.FalseAge], rules[nemesis.TooOld], rules[nemesis.Withheld],
		availability.Outside, nemesis.Grace, availability.After, availability.Inside, availability.Quiet)
	for _, outage := range outages {
		a.t.Log(outage)
	}
	if availability.Outside.Available() < nemesisAvailable {
		a.t.Errorf("outside faults only %v were answered", availability.Outside)
	}
}
