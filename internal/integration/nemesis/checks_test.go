package nemesis

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// reportViolations fails the test for each violation that the oracle finds, and logs the
// key's writes.
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
	if i.keytail == nil {
		return nemesis.Loss{}, false
	}
	recorder := httptest.NewRecorder()
	i.keytail.Operations().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/readyz", nil))
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

// databaseState returns every key's state by its document. It uses keytail's decoder, but
// no other part of keytail.
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
		byHash[d.Hash] = apikey.Decide(&d.Record, everyRequest(), time.Now())
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

// mustConverge validates every key at every instance until all answers match the
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
			a.t.Logf("%d keys on %d instances match the database after %v", len(subjects), len(a.instances), time.Since(began).Round(time.Millisecond))
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
					differ[n] = append(differ[n], fmt.Sprintf("%s: got %v for %s (%v old, cached %v), want %v as in the database",
						i.name, answer.Code, s.label, answer.Staleness, answer.Cached, want[s.text]))
				}
				if answer.Code == apikey.Unavailable {
					return // the others would be slow, too
				}
			}
		})
	}
	group.Wait()
	return slices.Concat(differ...)
}

// drop drops the collection and creates an empty one: then every key must be NOT_FOUND,
// and none may be VALID for longer than max_stale.
func (a *testbed) drop(load *workload) {
	a.t.Helper()
	over := load.history.BeginFault("drop")
	appeared := a.appeared.Load()
	repair := a.collectionFaults(load)["drop"](nil)
	subjects := load.all()
	nothing := map[string]apikey.Code{}
	for _, s := range subjects {
		nothing[s.text] = apikey.Unavailable
	}
	mongotest.Eventually(a.t, testkit.WaitTimeout, func() bool {
		return len(a.differences(subjects[:1], nothing)) == 0 || a.appeared.Load() > appeared
	}, "a collection that is missing is not an outage")
	repair()
	over()
	a.mustConverge(load, time.Now().Add(convergence))
}

// all returns the keys whose documents are known.
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
	refusals := 0.0
	for _, n := range a.eventRefusals() {
		refusals += n
	}
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
acknowledgements     %d, false %d
late acceptances     %d
false ages           %d
too old, withheld    %d, %d
available outside    %v
  within %v after    %v
  within faults      %v
  quiet keys then    %v
revocation delay     %v
  within faults      %v
refusals from events %v
as a register        %v`,
		totals.Answers, totals.Writes, totals.UnknownWrites, strings.Join(faults, ", "), totals.Losses,
		totals.Acknowledgements, rules[nemesis.FalseAcknowledgement],
		rules[nemesis.LateAcceptance], rules[nemesis.FalseAge], rules[nemesis.TooOld], rules[nemesis.Withheld],
		availability.Outside, nemesis.Grace, availability.After, availability.Inside, availability.Quiet,
		outside, inside, refusals, register)
	if len(register.Wrong) > 0 {
		a.t.Error("answers contradict each other: ", register)
	}
	if len(register.Undecided) > 0 || register.LeftOut > 0 {
		a.t.Log("!!! not all answers were checked against a register: ", register)
	}
	for _, outage := range outages {
		a.t.Log(outage)
	}
	if availability.Outside.Available() < nemesisAvailable {
		a.t.Errorf("share of answers outside faults: got %v, want more", availability.Outside)
	}
}
