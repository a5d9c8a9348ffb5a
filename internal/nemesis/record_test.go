package nemesis

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/history"
	"github.com/keytail/keytail/internal/historycheck"
)

var agreements = flag.Int("agreements", 300, "random histories that the oracle and the checker judge")

const agreementMaxStale = 2 * time.Second

// TestTheOracleAndTheCheckerAgree: both judge the same histories, whose answers are right
// before some of them are changed at random.
func TestTheOracleAndTheCheckerAgree(t *testing.T) {
	rules := map[string]int{}
	for seed := range *agreements {
		random := rand.New(rand.NewPCG(uint64(seed), 19))
		name := filepath.Join(t.TempDir(), "history.jsonl")
		h := NewHistory()
		to, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Record(to, history.Header{MaxStaleMS: history.Milliseconds(agreementMaxStale)}); err != nil {
			t.Fatal(err)
		}
		randomHistory(random, h)
		if err := errors.Join(h.EndRecord(), to.Close()); err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{}
		for _, v := range h.Check(agreementMaxStale) {
			want[v.Answer.Instance] = append(want[v.Answer.Instance], v.Rule)
			rules[v.Rule]++
		}
		report, err := historycheck.Check(t.Context(), historycheck.Input{History: name})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]historycheck.Rule{}
		for _, v := range report.Violations {
			for _, b := range v.Broken {
				got[v.Answer.Instance] = append(got[v.Answer.Instance], b.Rule)
			}
		}
		if !agree(want, got) {
			_ = report.Print(os.Stderr)
			t.Fatalf("seed %d: the oracle found %v, the checker %v", seed, want, got)
		}
	}
	t.Log(rules)
	for _, rule := range []string{FalseAge, LateAcceptance, TooOld, FalseNotFound, FalseAcknowledgement} {
		if rules[rule] < *agreements/20 {
			t.Errorf("%q was broken only %d times: the histories compare too little", rule, rules[rule])
		}
	}
}

// agree compares the rules that are broken, by answer. The checker names more of them: its
// bounded staleness is about refusals, too, and it has a name for an expiry.
func agree(want map[string][]string, got map[string][]historycheck.Rule) bool {
	if !maps.EqualFunc(want, got, func([]string, []historycheck.Rule) bool { return true }) {
		return false
	}
	for answer, rules := range want {
		for _, rule := range rules {
			if !slices.ContainsFunc(same[rule], func(r historycheck.Rule) bool { return slices.Contains(got[answer], r) }) {
				return false
			}
		}
		if slices.Contains(got[answer], historycheck.OutageIsNoRefusal) && !slices.Contains(rules, FalseNotFound) {
			return false
		}
	}
	return true
}

// same are the checker's names of the oracle's rules.
var same = map[string][]historycheck.Rule{
	FalseAge:             {historycheck.ReportedStaleness, historycheck.ExactExpiry, historycheck.UnknownKey},
	LateAcceptance:       {historycheck.BoundedStaleness, historycheck.ExactExpiry, historycheck.UnknownKey},
	TooOld:               {historycheck.BoundedStaleness},
	FalseNotFound:        {historycheck.OutageIsNoRefusal},
	FalseAcknowledgement: {historycheck.FleetAcknowledged},
}

// randomHistory adds writes of four keys, one of which is not recorded, and answers. The
// instance of an answer is its number: violations are compared by it.
func randomHistory(random *rand.Rand, h *History) {
	zero := time.Now()
	at := func(most time.Duration) time.Time { return zero.Add(time.Duration(random.Int64N(int64(most)))) }
	states := []apikey.Code{apikey.Valid, apikey.Valid, apikey.NotFound, apikey.Disabled, apikey.Forbidden, apikey.Unavailable}
	for _, key := range []string{"a", "b", "c"} {
		for now := at(time.Second); now.Before(zero.Add(20 * time.Second)); now = now.Add(time.Duration(random.Int64N(int64(3 * time.Second)))) {
			var expires time.Time
			state := states[random.IntN(len(states))]
			if state == apikey.Valid && random.IntN(3) == 0 {
				expires = now.Add(time.Duration(random.Int64N(int64(time.Second))))
			}
			if random.IntN(10) == 0 { // as when the collection is dropped
				h.AddWrite(key, apikey.NotFound, now)(now.Add(time.Millisecond))
			}
			acknowledged := h.AddExpiringWrite(key, state, now, expires)
			now = now.Add(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
			if random.IntN(6) > 0 {
				acknowledged(now)
			}
		}
	}
	h.DeclareUnrecorded("d", apikey.NotFound, apikey.Disabled)
	for range 5 {
		covers := at(20 * time.Second)
		h.AddAcknowledgement(covers, covers.Add(time.Duration(random.Int64N(int64(time.Second)))))
	}
	gone := at(20 * time.Second)
	h.missing = append(h.missing, Fault{From: gone, To: gone.Add(3 * time.Second)})
	h.AddFault(Fault{Kind: "drop", From: gone, To: gone.Add(3 * time.Second)})
	for n := range 60 {
		a := rightAnswer(random, h, at(20*time.Second))
		a.Instance = fmt.Sprint(n)
		if random.IntN(4) == 0 {
			falsify(random, &a)
		}
		if random.IntN(2) == 0 {
			h.AddLoss(a.Instance, Loss{At: gone.Add(time.Millisecond), Reason: byDrop[random.IntN(len(byDrop))]})
		}
		h.AddAnswer(a)
	}
}

// rightAnswer is an answer with a state that its key can have had.
func rightAnswer(random *rand.Rand, h *History, asOf time.Time) Answer {
	a := Answer{Key: string("abcde"[random.IntN(5)]), AsOf: asOf}
	a.Asked = asOf.Add(time.Duration(random.Int64N(int64(agreementMaxStale))))
	a.Given = a.Asked.Add(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
	a.Staleness = a.Given.Sub(a.AsOf)
	for _, s := range h.spansOf(a.Key) {
		if s.overlaps(window{a.Asked, a.AsOf, a.Given}) && (a.Code == apikey.Unavailable || random.IntN(2) == 0) {
			a.Code = s.state
		}
	}
	return a
}

// falsify changes one thing.
func falsify(random *rand.Rand, a *Answer) {
	later := time.Duration(random.Int64N(int64(4 * time.Second)))
	switch random.IntN(5) {
	case 0:
		a.Code = apikey.Code(random.IntN(apikey.CodeCount))
	case 1:
		a.AsOf = a.AsOf.Add(min(later, a.Asked.Sub(a.AsOf)))
	case 2:
		a.Staleness += later
	case 3:
		a.Staleness = max(0, a.Staleness-later)
	case 4:
		a.Asked, a.Given, a.Staleness = a.Asked.Add(later), a.Given.Add(later), a.Staleness+later
	}
}
