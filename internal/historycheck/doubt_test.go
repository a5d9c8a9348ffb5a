package historycheck

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// TestDoubtIsInFavourOfTheAnswer: each certain history breaks a rule, and the doubtful one
// does not, because it knows less.
func TestDoubtIsInFavourOfTheAnswer(t *testing.T) {
	type recorded struct {
		header  func(*history.Header)
		records []history.Record
	}
	created, revoked := became(history.Valid, 10), became(history.Disabled, 1000)
	revokedBut := func(change func(*history.Write)) history.Record { return with(became(history.Disabled, 1000), change) }
	restored := &history.Write{Key: "k", State: history.Valid, Sent: at(500), Outcome: history.Unknown}
	late := got(history.Valid, 1015, 1030) // revoked 5 ms before its as_of
	vague := with(got(history.Valid, 500, 540), func(a *history.Answer) { a.StalenessMS = new(35.0) })
	exactly := func(*history.Header) {}
	unfenced := func(h *history.Header) { h.Fenced = false }
	uncertainty := func(ms float64) func(*history.Header) {
		return func(h *history.Header) { h.ClockUncertaintyMS = ms }
	}
	resolution := func(ms float64) func(*history.Header) { return func(h *history.Header) { h.ResolutionMS = &ms } }
	certain := recorded{exactly, []history.Record{created, revoked, late}}
	for name, c := range map[string]struct{ certain, doubtful recorded }{
		"clocks apart": {
			recorded{uncertainty(2), []history.Record{created, revoked, late}},
			recorded{uncertainty(5), []history.Record{created, revoked, late}},
		},
		"a coarse as_of": {
			recorded{resolution(4), []history.Record{created, revoked, late}},
			recorded{resolution(5), []history.Record{created, revoked, late}},
		},
		"a coarse staleness": {
			recorded{resolution(1), []history.Record{created, revoked, vague}},
			recorded{resolution(2), []history.Record{created, revoked, vague}},
		},
		"a revocation of unknown outcome": {certain, recorded{exactly, []history.Record{
			created, late, revokedBut(func(w *history.Write) { w.Outcome, w.Acknowledged = history.Unknown, time.Time{} }),
		}}},
		"a revocation that failed": {certain, recorded{exactly, []history.Record{
			created, late, revokedBut(func(w *history.Write) { w.Outcome, w.Acknowledged = history.Failed, time.Time{} }),
		}}},
		"a revocation that may be rolled back": {certain, recorded{exactly, []history.Record{
			created, late, revokedBut(func(w *history.Write) { w.Concern = "1" }),
		}}},
		"writes that overlap": {certain, recorded{unfenced, []history.Record{created, revoked, late, became(history.Valid, 1005)}}},
		"no fences": {
			recorded{exactly, []history.Record{created, revoked, late, restored}},
			recorded{unfenced, []history.Record{created, revoked, late, restored}},
		},
		"other requirements": {
			recorded{exactly, []history.Record{created, got(history.Forbidden, 490, 500)}},
			recorded{func(h *history.Header) { h.Requests = history.Vary }, []history.Record{created, got(history.Forbidden, 490, 500)}},
		},
		"an unknown beginning": {
			recorded{exactly, []history.Record{got(history.Valid, 490, 500)}},
			recorded{func(h *history.Header) { h.Initial = []string{history.AnyState} }, []history.Record{got(history.Valid, 490, 500)}},
		},
		"no max_stale": {
			recorded{exactly, []history.Record{created, revoked, got(history.Valid, 1000, 1200)}},
			recorded{func(h *history.Header) { h.MaxStaleMS = 0 }, []history.Record{created, revoked, got(history.Valid, 1000, 1200)}},
		},
	} {
		for _, h := range []struct {
			recorded
			ok bool
		}{{c.certain, false}, {c.doubtful, true}} {
			header := exact()
			h.header(&header)
			if r := judged(t, Input{History: file(t, header, h.records...)}); r.OK != h.ok {
				t.Errorf("%s: got %v, want %v: %v", name, r.OK, h.ok, r.Violations)
			}
		}
	}
}

// TestARestoreMayComeLate: without fences, a write of unknown outcome explains an answer
// long after later writes, and no other answer.
func TestARestoreMayComeLate(t *testing.T) {
	restored := &history.Write{Key: "k", State: history.Valid, Sent: at(500), Outcome: history.Unknown}
	header := exact()
	header.Fenced = false
	for code, ok := range map[string]bool{history.Valid: true, history.Disabled: true, history.Expired: false, history.NotFound: false} {
		r := judged(t, Input{History: file(t, header, became(history.Expired, 600), became(history.Disabled, 1000), restored, got(code, 90_000, 90_010))})
		if r.OK != ok || len(r.Notes) == 0 {
			t.Errorf("%s: %v, notes %q", code, r.Violations, r.Notes)
		}
	}
}

// TestEachComparisonAllowsForClocks: what breaks a rule by 4 ms breaks none if clocks differ by 4 ms.
func TestEachComparisonAllowsForClocks(t *testing.T) {
	created, revoked := became(history.Valid, 10), became(history.Disabled, 1000)
	for name, records := range map[string][]history.Record{
		"as_of":                      {created, revoked, got(history.Valid, 1014, 1030)},
		"the staleness and as_of":    {created, with(got(history.Valid, 1000, 1030), func(a *history.Answer) { a.StalenessMS = new(25.0) })},
		"the sending":                {created, got(history.Valid, 0, 6)},
		"an expiry":                  {with(became(history.Valid, 10), func(w *history.Write) { w.Expires = at(500) }), got(history.Valid, 490, 505)},
		"an expiry to come":          {with(became(history.Valid, 10), func(w *history.Write) { w.Expires = at(500) }), got(history.Expired, 490, 496)},
		"what is synced":             {created, revoked, &history.Acknowledgement{Scope: history.Fleet, At: at(1020), Covers: at(1014)}, got(history.Valid, 1000, 1050)},
		"when it is synced":          {created, revoked, &history.Acknowledgement{Scope: history.Fleet, At: at(1030), Covers: at(1029)}, got(history.Valid, 1000, 1035)},
		"the beginning of an outage": {&history.Outage{From: at(400), To: at(600)}, got(history.NotFound, 400, 405)},
		"the end of an outage":       {&history.Outage{From: at(400), To: at(600)}, got(history.NotFound, 500, 597)},
		"one write and the next":     {created, with(became(history.Disabled, 23), func(w *history.Write) { w.Acknowledged = at(25) }), got(history.Valid, 300, 310)},
		"an as_of to come":           {created, with(got(history.Valid, 304, 300), func(a *history.Answer) { a.StalenessMS = new(0.0) })},
		"an as_of that is too old":   {created, with(got(history.Valid, 195, 300), func(a *history.Answer) { a.StalenessMS = nil })},
		"max_stale":                  {created, revoked, with(got(history.Valid, 1000, 1115), func(a *history.Answer) { a.AsOf, a.StalenessMS = time.Time{}, nil })},
	} {
		for uncertainty, ok := range map[float64]bool{2.9: false, 4: true} {
			header := exact()
			header.Fenced, header.ClockUncertaintyMS = false, uncertainty
			if r := judged(t, Input{History: file(t, header, records...)}); r.OK != ok {
				t.Errorf("%s, %v ms: got %v: %v", name, uncertainty, r.OK, r.Violations)
			}
		}
	}
}

// TestAWriteThatChangesNothingEndsNothing: the server gives such a write the revision of what
// was written last, which an answer from before it can have. A write that changes the state
// still ends it.
func TestAWriteThatChangesNothingEndsNothing(t *testing.T) {
	const first, second, third = "6923a1c000000003", "6923a1c000000004", "6923a1c000000005"
	to := func(state string, sent int, revision string) *history.Write {
		return with(became(state, sent), func(w *history.Write) { w.Revision = revision })
	}
	expiring := func(sent int, revision string) *history.Write {
		return with(to(history.Valid, sent, revision), func(w *history.Write) { w.Expires = at(500) })
	}
	anything := &history.Initial{Key: "k", States: []string{history.AnyState}}
	for name, c := range map[string]struct {
		writes   []history.Record
		code     string
		given    int
		revision string
		ok       bool
	}{
		"the same revision":           {[]history.Record{to(history.Disabled, 10, first), to(history.Disabled, 1000, first)}, history.Disabled, 900, first, true},
		"what others wrote last":      {[]history.Record{to(history.Disabled, 10, first), to(history.Disabled, 1000, second)}, history.Disabled, 900, second, true},
		"twice":                       {[]history.Record{to(history.Disabled, 10, first), to(history.Disabled, 1000, second), to(history.Disabled, 1100, second)}, history.Disabled, 900, second, true},
		"of no document":              {[]history.Record{to(history.NotFound, 1000, first)}, history.NotFound, 900, first, true},
		"of an unknown beginning":     {[]history.Record{anything, to(history.Disabled, 1000, first)}, history.Disabled, 900, first, true},
		"with its expiry":             {[]history.Record{expiring(10, first), expiring(1000, second)}, history.Expired, 900, second, true},
		"after its expiry":            {[]history.Record{expiring(10, first), to(history.Expired, 1000, second)}, history.Expired, 900, second, true},
		"across its expiry":           {[]history.Record{expiring(10, first), to(history.Expired, 1000, second)}, history.Valid, 490, second, true},
		"it changes an unknown state": {[]history.Record{anything, to(history.Disabled, 1000, first)}, history.Valid, 900, first, false},
		"it changes the state":        {[]history.Record{to(history.Valid, 10, first), to(history.Disabled, 1000, second)}, history.Valid, 900, second, false},
		"it changes the expiry":       {[]history.Record{to(history.Valid, 10, first), expiring(1000, second)}, history.Valid, 900, second, false},
		"it expires only later":       {[]history.Record{expiring(10, first), to(history.Expired, 450, second)}, history.Valid, 440, second, false},
		"another one changes it":      {[]history.Record{to(history.Valid, 10, first), to(history.Valid, 1000, second), to(history.Disabled, 1100, third)}, history.Valid, 900, third, false},
	} {
		answer := with(got(c.code, c.given-5, c.given), func(a *history.Answer) { a.Revision = c.revision })
		r := judged(t, Input{History: file(t, exact(), append(c.writes, answer)...)})
		if r.OK != c.ok {
			t.Errorf("%s: got %v, want %v: %v", name, r.OK, c.ok, r.Violations)
		}
		if !r.OK && (len(r.Violations[0].Broken) != 1 || r.Violations[0].Broken[0].Rule != ReportedRevision) {
			t.Errorf("%s: %v", name, r.Violations[0].Broken)
		}
	}
}

// TestACoarseClockOrdersNothing: with a clock of milliseconds a write can be acknowledged, and
// the next one sent, at the time at which it was sent.
func TestACoarseClockOrdersNothing(t *testing.T) {
	instantly := func(state string) *history.Write {
		return with(became(state, 10), func(w *history.Write) { w.Acknowledged, w.Revision = w.Sent, "6923a1c000000003" })
	}
	unfenced := exact()
	unfenced.Fenced = false
	for _, c := range []struct {
		writes []history.Record
		code   string
		ok     bool
	}{
		{[]history.Record{instantly(history.Valid)}, history.Valid, true},
		{[]history.Record{instantly(history.Valid)}, history.NotFound, false},
		{[]history.Record{instantly(history.Valid), instantly(history.Disabled)}, history.Valid, true},
		{[]history.Record{instantly(history.Valid), instantly(history.Disabled)}, history.Disabled, true},
		{[]history.Record{instantly(history.Valid), became(history.Disabled, 11)}, history.Valid, false},
	} {
		answer := with(got(c.code, 490, 500), func(a *history.Answer) { a.Revision = "6923a1c000000003" })
		if r := judged(t, Input{History: file(t, unfenced, append(c.writes, answer)...)}); r.OK != c.ok {
			t.Errorf("%d writes, %s: got %v: %v", len(c.writes), c.code, r.OK, r.Violations)
		}
	}
}
