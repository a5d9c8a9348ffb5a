package resume

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

const (
	// liveWrites is the length of a run.
	liveWrites    = 40
	liveDocuments = 10
	// writesInOutage is how many writes follow the failure at once. The others wait until the
	// service knows the one before.
	writesInOutage = 4
	// recovery is how long a service may take until its cache is complete and fresh again, after
	// one failure: a request without an answer is given up after a second, the watchdog's next limit
	// is twice as long, and a first scan has 30 s for a batch.
	recovery = time.Minute
	// sampledErrors is how many cases the gate tries.
	sampledErrors = 16
)

// step is a command of the run, and how it fails. Zero: nothing fails.
type step struct {
	class   string
	n       int
	failure failure
}

func (s step) String() string { return fmt.Sprintf("%s %d: %s", s.class, s.n, s.failure.name) }

// outcome is what a run has shown.
type outcome struct {
	wrong []string
	// steps are the commands until the run had ended. hit: the step was reached.
	steps []*command
	hit   bool
	// recovered is how long the service took after the last write until it was current. unavailable
	// counts the answers that were UNAVAILABLE.
	recovered   time.Duration
	unavailable int
}

// run is a service that follows writes while they are made, and one of whose commands fails.
type run struct {
	*instance
	writer *writer
	oracle *oracle
	step   step
	out    outcome
	hit    atomic.Bool
}

// intercept makes the step fail.
func (r *run) intercept(c *command) action {
	if c.class != r.step.class || c.n != r.step.n {
		return action{}
	}
	r.hit.Store(true)
	return r.step.failure.of(c)
}

// follow makes the run.
func follow(t *testing.T, s *mongotest.Server, at step) outcome {
	t.Helper()
	w := newWriter(t, s, liveDocuments)
	r := &run{writer: w, step: at}
	for range liveDocuments { // there is something to scan
		r.must(t, w.insert(t.Context()))
	}
	states, err := w.states(t.Context())
	r.must(t, err)
	r.oracle = newOracle(states)
	if r.instance, err = startService(s, w, newWire(r.intercept)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	inOutage := 0
	for range liveWrites {
		r.write(t)
		r.ask(t.Context())
		if r.hit.Load() && inOutage < writesInOutage {
			inOutage++
			continue
		}
		if !await(recovery, func() bool { return r.ask(t.Context()) }) {
			r.wrongf("the answers are not the current ones within %v", recovery)
			return r.out
		}
	}
	r.settle(t)
	return r.out
}

func (r *run) must(t *testing.T, err error) {
	t.Helper()
	if err != nil && !strings.Contains(err.Error(), "duplicate key") {
		t.Fatal(err)
	}
}

func (r *run) wrongf(format string, args ...any) {
	r.out.wrong = append(r.out.wrong, fmt.Sprintf(format, args...))
}

// write makes the next write.
func (r *run) write(t *testing.T) {
	t.Helper()
	name, err := r.writer.next(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	now := time.Now()
	states, err := r.writer.states(t.Context())
	r.must(t, err)
	r.oracle.written(states, now)
	if name == "bulk" || name == "switch many" {
		r.oracle.several = now
	}
}

// ask asks for each key, and reports whether all answers are those of now.
func (r *run) ask(ctx context.Context) bool {
	current := true
	for n, text := range r.writer.texts {
		v := r.Validator.Validate(ctx, text, &apikey.Request{})
		if wrong := r.oracle.check(n, &v); wrong != "" && len(r.out.wrong) < 5 {
			r.wrongf("%s", wrong)
		}
		if v.Code == apikey.Unavailable {
			r.out.unavailable++
		}
		current = current && stateOfVerdict(&v) == r.oracle.current(n)
	}
	return current
}

// settle waits until the service is current, and checks the end.
func (r *run) settle(t *testing.T) {
	t.Helper()
	ended := time.Now()
	if r.hit.Load() && !await(recovery, func() bool { return r.isNoticed(t) }) {
		r.wrongf("the failure is silent: no counter, no log line, and the driver did not send the command again")
	}
	if !await(recovery, func() bool { return r.isCurrent() && r.ask(t.Context()) }) {
		r.wrongf("the cache is not complete and fresh within %v: %v, complete %v", recovery, r.Status().State, r.Cache.Stats().Complete)
	}
	r.out.recovered = time.Since(ended)
	r.out.steps, r.out.hit = r.wire.commands(), r.hit.Load()
	states := make([]state, len(r.writer.texts))
	for n := range states {
		states[n] = r.oracle.current(n)
	}
	wrong, _ := (&recording{writer: r.writer, states: states}).compare(t.Context(), r.instance)
	r.out.wrong = append(r.out.wrong, wrong...)
}

// isNoticed reports whether the failure left a trace: a counter of failures, a log line, or the
// driver's second attempt, after which there is no failure for the service.
func (r *run) isNoticed(t *testing.T) bool {
	t.Helper()
	if r.step.class == classKill { // a request to forget a cursor, which the server forgets in any case
		return true
	}
	return failuresCounted(t, r.registry) > 0 || r.retried() ||
		slices.ContainsFunc(r.logs.AllUntimed(), isAboutAFailure)
}

func isAboutAFailure(e observer.LoggedEntry) bool { return e.Level >= zapcore.WarnLevel }

// retried reports whether the driver has sent the command again, in the same session.
func (r *run) retried() bool {
	sent := r.wire.commands()
	at := slices.IndexFunc(sent, func(c *command) bool { return c.class == r.step.class && c.n == r.step.n })
	if at < 0 {
		return false
	}
	failed := sent[at]
	return slices.ContainsFunc(sent[at+1:], func(c *command) bool {
		return c.class == failed.class && c.body.Lookup("lsid").Equal(failed.body.Lookup("lsid")) &&
			c.body.Lookup("txnNumber").Equal(failed.body.Lookup("txnNumber"))
	})
}

func TestEveryErrorAtEveryPoint(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	cases := allCases(t, &d.Server)
	total := len(cases)
	if !*full && *only == "" {
		// A scan waits 30 s for a batch: too long for the gate.
		cases = slices.DeleteFunc(cases, func(s step) bool { return s.class == classScan && strings.HasPrefix(s.failure.name, "no answer") })
		cases = cases[:min(sampledErrors, len(cases))]
	}
	var all totals
	t.Run("cases", func(t *testing.T) {
		for _, at := range cases {
			t.Run(at.String(), func(t *testing.T) {
				t.Parallel()
				out := follow(t, &d.Server, at)
				for _, wrong := range out.wrong {
					t.Errorf("%v: %s", at, wrong)
				}
				all.add(&out)
			})
		}
	})
	t.Logf("%d of %d cases, %d of them reached their step; %d answers were UNAVAILABLE; the slowest recovery took %v",
		all.tried, total, all.reached, all.unavailable, all.slowest)
	if all.reached < all.tried*3/4 {
		t.Errorf("only %d of %d cases reached their step", all.reached, all.tried)
	}
}

// totals are those of all cases, which run at the same time.
type totals struct {
	mutex                       sync.Mutex
	tried, reached, unavailable int
	slowest                     time.Duration
}

func (a *totals) add(out *outcome) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.tried++
	a.unavailable += out.unavailable
	a.slowest = max(a.slowest, out.recovered)
	if out.hit {
		a.reached++
	}
}

// allCases are all failures of all steps of a run without one, in a random order.
func allCases(t *testing.T, s *mongotest.Server) []step {
	t.Helper()
	out := follow(t, s, step{})
	for _, wrong := range out.wrong {
		t.Errorf("without a failure: %s", wrong)
	}
	counts := map[string]int{}
	var cases []step
	for _, c := range out.steps {
		counts[c.class]++
		for _, f := range failures() {
			if one := (step{c.class, c.n, f}); strings.Contains(one.String(), *only) {
				cases = append(cases, one)
			}
		}
	}
	t.Logf("%d steps: %v", len(out.steps), counts)
	if len(cases) == 0 {
		t.Fatalf("no case has %q in its name: -resume.only is such as \"stream 7: code 286\", with a step of those above", *only)
	}
	random := rand.New(rand.NewPCG(*seed, 7))
	random.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	return cases
}
