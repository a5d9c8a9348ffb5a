package historycheck

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/history"
)

var zero = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

// file writes records into a file, and returns its name.
func file(t *testing.T, header history.Header, records ...history.Record) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "history.jsonl")
	to, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := history.NewWriter(to, header)
	for _, r := range records {
		err = errors.Join(err, w.Add(r))
	}
	if err = errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func judged(t *testing.T, in Input) *Report {
	t.Helper()
	r, err := Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// exact is a header of a history that one process has recorded.
func exact() history.Header {
	return history.Header{MaxStaleMS: 100, ResolutionMS: new(0.0), Fenced: true}
}

// became is a write that was acknowledged 10 ms after it was sent.
func became(state string, sent int) *history.Write {
	return &history.Write{Key: "k", State: state, Sent: at(sent), Acknowledged: at(sent + 10), Outcome: history.OK}
}

// got is an answer to a request that was sent 1 ms before. It reports its true age.
func got(code string, asOf, given int) *history.Answer {
	return &history.Answer{
		Key: "k", Code: code, Asked: at(given - 1), Given: at(given), AsOf: at(asOf), Instance: "i",
		StalenessMS: new(float64(given - asOf)),
	}
}

// with changes a record.
func with[R any](r *R, change func(*R)) *R {
	change(r)
	return r
}

// TestEachRule has, for each rule, an answer that keeps it and one that breaks it.
func TestEachRule(t *testing.T) {
	unknown := func(state string, sent int) *history.Write {
		return &history.Write{Key: "k", State: state, Sent: at(sent), Outcome: history.Unknown}
	}
	expiring := with(became(history.Valid, 10), func(w *history.Write) { w.Expires = at(500) })
	revised := func(w *history.Write, revision string) *history.Write {
		return with(w, func(w *history.Write) { w.Revision = revision })
	}
	const earlier, later = "6923a1c000000003", "6923a1c000000004"
	created, revoked := became(history.Valid, 10), became(history.Disabled, 1000)
	restored := []history.Record{created, revoked, unknown(history.Valid, 2000), became(history.Disabled, 3000)}
	revisions := []history.Record{revised(became(history.Valid, 10), earlier), revised(became(history.Disabled, 1000), later)}
	silent := func(code string, given int) *history.Answer {
		return with(got(code, given, given), func(a *history.Answer) { a.AsOf, a.StalenessMS = time.Time{}, nil })
	}
	synced := func(scope, instance string) *history.Acknowledgement {
		return &history.Acknowledgement{Scope: scope, Instance: instance, At: at(1030), Covers: at(1020)}
	}
	gone := &history.Outage{From: at(400), To: at(600), Instance: "i"}
	for _, c := range []struct {
		name   string
		before []history.Record
		answer *history.Answer
		want   []Rule
	}{
		{"before it was created", restored, got(history.NotFound, 0, 5), nil},
		{"too early", restored, got(history.Valid, 0, 5), []Rule{BoundedStaleness, ReportedStaleness}},
		{"while it was created", restored, got(history.NotFound, 15, 16), nil},
		{"while it was created, new state", restored, got(history.Valid, 15, 16), nil},
		{"valid", restored, got(history.Valid, 490, 500), nil},
		{"lost", restored, got(history.NotFound, 490, 500), []Rule{BoundedStaleness, ReportedStaleness}},
		{"revoked, with a correct age", restored, got(history.Valid, 1009, 1060), nil},
		{"revoked, with a false age", restored, got(history.Valid, 1011, 1060), []Rule{ReportedStaleness}},
		{"revoked, older than max_stale", restored, got(history.Valid, 1000, 1200), []Rule{BoundedStaleness}},
		{"refused too early", restored, got(history.Disabled, 900, 990), []Rule{BoundedStaleness, ReportedStaleness}},
		{"refused", restored, got(history.Disabled, 1100, 1110), nil},
		{"a bare refusal", restored, got(history.Refused, 1100, 1110), nil},
		{"a bare refusal of a valid key", restored, got(history.Refused, 490, 500), []Rule{BoundedStaleness, ReportedStaleness}},
		{"unknown restore", restored, got(history.Valid, 2500, 2510), nil},
		{"unknown restore, not applied", restored, got(history.Disabled, 2500, 2510), nil},
		{"after the fence", restored, got(history.Valid, 3020, 3030), []Rule{ReportedStaleness}},
		{"an outage", restored, got(history.Unavailable, 3020, 3030), nil},

		{"a refusal too old", restored, with(got(history.NotFound, 15, 500), func(a *history.Answer) { a.Asked = at(16) }), []Rule{BoundedStaleness}},
		{"an age that is none", restored, with(got(history.Valid, 400, 500), func(a *history.Answer) { a.StalenessMS = new(98.9) }), []Rule{ReportedStaleness}},
		{"an age that is overstated", restored, with(got(history.Valid, 490, 500), func(a *history.Answer) { a.StalenessMS = new(90.0) }), nil},
		{"of the future", restored, with(got(history.Valid, 501, 500), func(a *history.Answer) { a.StalenessMS = new(0.0) }), []Rule{ReportedStaleness}},
		{"as old as max_stale, by its as_of alone", restored, with(got(history.Valid, 400, 501), func(a *history.Answer) { a.StalenessMS = nil }), nil},
		{"older than max_stale, by its as_of alone", restored, with(got(history.Valid, 400, 502), func(a *history.Answer) { a.StalenessMS = nil }), []Rule{BoundedStaleness}},
		{"a staleness alone", restored, with(got(history.Valid, 950, 1030), func(a *history.Answer) { a.AsOf = time.Time{} }), nil},
		{"a false staleness alone", restored, with(got(history.Valid, 1015, 1030), func(a *history.Answer) { a.AsOf = time.Time{} }), []Rule{ReportedStaleness}},
		{"no report", restored, silent(history.Valid, 1100), nil},
		{"no report, too late", restored, silent(history.Valid, 1112), []Rule{BoundedStaleness}},

		{"gone, and refused", []history.Record{created, became(history.Unavailable, 1000)}, got(history.Refused, 1100, 1110), []Rule{BoundedStaleness, ReportedStaleness}},
		{"a write that failed", []history.Record{created, &history.Write{Key: "k", State: history.Disabled, Sent: at(400), Outcome: history.Failed}}, got(history.Disabled, 490, 500), []Rule{BoundedStaleness, ReportedStaleness}},

		{"before its expiry", []history.Record{expiring}, got(history.Valid, 490, 500), nil},
		{"after its expiry", []history.Record{expiring}, got(history.Valid, 490, 502), []Rule{ExactExpiry}},
		{"expired", []history.Record{expiring}, got(history.Expired, 490, 500), nil},
		{"expired too early", []history.Record{expiring}, got(history.Expired, 480, 499), []Rule{ExactExpiry}},

		{"unknown", nil, got(history.NotFound, 10, 20), nil},
		{"unknown and valid", nil, got(history.Valid, 10, 20), []Rule{UnknownKey}},
		{"declared", []history.Record{&history.Initial{Key: "k", States: []string{history.Valid}}}, got(history.Valid, 10, 20), nil},
		{"anything", []history.Record{&history.Initial{Key: "k", States: []string{history.AnyState}}}, got(history.Expired, 10, 20), nil},
		{"declared otherwise", []history.Record{&history.Initial{Key: "k", States: []string{history.Valid}}}, got(history.NotFound, 10, 20), []Rule{BoundedStaleness, ReportedStaleness}},

		{"before synced", []history.Record{created, revoked, synced(history.Fleet, "")}, got(history.Valid, 1000, 1030), nil},
		{"after synced", []history.Record{created, revoked, synced(history.Fleet, "")}, got(history.Valid, 1000, 1040), []Rule{FleetAcknowledged}},
		{"after synced of the instance", []history.Record{created, revoked, synced(history.Instance, "i")}, got(history.Valid, 1000, 1040), []Rule{InstanceAcknowledged}},
		{"after synced of another instance", []history.Record{created, revoked, synced(history.Instance, "j")}, got(history.Valid, 1000, 1040), nil},
		{"after a later synced that covers less", []history.Record{created, revoked, synced(history.Fleet, ""), &history.Acknowledgement{Scope: history.Fleet, At: at(1035), Covers: at(500)}}, got(history.Valid, 1000, 1040), []Rule{FleetAcknowledged}},
		{"after a later synced of an earlier revision", append(slices.Clone(revisions), &history.Acknowledgement{Scope: history.Fleet, At: at(1030), Revision: later}, &history.Acknowledgement{Scope: history.Fleet, At: at(1035), Revision: earlier}), got(history.Valid, 1000, 1040), []Rule{FleetAcknowledged}},
		{"after synced by revision", append(slices.Clone(revisions), &history.Acknowledgement{Scope: history.Fleet, At: at(1030), Revision: later}), got(history.Valid, 1000, 1040), []Rule{FleetAcknowledged}},
		{"after synced by an earlier revision", append(slices.Clone(revisions), &history.Acknowledgement{Scope: history.Fleet, At: at(1030), Revision: earlier}), got(history.Valid, 1000, 1040), nil},

		{"a revision that it has", revisions, with(got(history.Valid, 1000, 1040), func(a *history.Answer) { a.Revision = earlier }), nil},
		{"a revision that it ignores", revisions, with(got(history.Valid, 1000, 1040), func(a *history.Answer) { a.Revision = later }), []Rule{ReportedRevision}},
		{"a required revision", revisions, with(got(history.Disabled, 1000, 1040), func(a *history.Answer) { a.MinRevision = later }), nil},
		{"a required revision that it ignores", revisions, with(got(history.Valid, 1000, 1040), func(a *history.Answer) { a.MinRevision = later }), []Rule{RequiredRevision}},

		{"a revision beyond the required one", revisions, with(got(history.Valid, 990, 999), func(a *history.Answer) { a.MinRevision, a.Revision = earlier, later }), []Rule{ReportedRevision}},
		{"a revision that is less than required", []history.Record{created}, with(got(history.Valid, 490, 500), func(a *history.Answer) { a.MinRevision, a.Revision = later, earlier }), []Rule{RequiredRevision}},
		{"the required revision", []history.Record{created}, with(got(history.Valid, 490, 500), func(a *history.Answer) { a.MinRevision, a.Revision = later, later }), nil},

		{"a refusal in an outage", []history.Record{gone}, got(history.NotFound, 490, 500), []Rule{OutageIsNoRefusal}},
		{"UNAVAILABLE in an outage", []history.Record{gone}, got(history.Unavailable, 490, 500), nil},
		{"a refusal at the end of an outage", []history.Record{gone}, got(history.NotFound, 590, 601), nil},
		{"a refusal by another instance", []history.Record{gone}, with(got(history.NotFound, 490, 500), func(a *history.Answer) { a.Instance = "j" }), nil},
	} {
		r := judged(t, Input{History: file(t, exact(), append(slices.Clone(c.before), c.answer)...)})
		var broken []Rule
		for _, v := range r.Violations {
			for _, b := range v.Broken {
				broken = append(broken, b.Rule)
			}
		}
		if !slices.Equal(broken, c.want) || r.OK != (c.want == nil) {
			var text strings.Builder
			_ = r.Print(&text)
			t.Errorf("%s: got %q, want %q\n%s", c.name, broken, c.want, &text)
		}
	}
}

// TestWhatNeedsNoAgeIsJudgedWithoutOne: no max_stale is promised, and no age is reported.
func TestWhatNeedsNoAgeIsJudgedWithoutOne(t *testing.T) {
	created := with(became(history.Valid, 10), func(w *history.Write) { w.Expires = at(500) })
	for _, c := range []struct {
		key, code string
		given     int
		want      Rule
	}{
		{"k", history.Valid, 450, ""},
		{"k", history.Valid, 502, ExactExpiry},
		{"k", history.Expired, 499, ExactExpiry},
		{"k", history.Expired, 502, ""},
		{"k", history.NotFound, 450, ""}, // of any age
		{"other", history.NotFound, 450, ""},
		{"other", history.Valid, 450, UnknownKey},
		{"other", history.Refused, 450, ""},
	} {
		answer := with(got(c.code, 0, c.given), func(a *history.Answer) { a.Key, a.AsOf, a.StalenessMS = c.key, time.Time{}, nil })
		r := judged(t, Input{History: file(t, history.Header{}, created, answer)})
		switch {
		case r.OK != (c.want == "") || len(r.Notes) == 0:
			t.Errorf("%+v: %v, notes %q", c, r.Violations, r.Notes)
		case !r.OK && (len(r.Violations[0].Broken) != 1 || r.Violations[0].Broken[0].Rule != c.want):
			t.Errorf("%+v: %v", c, r.Violations[0].Broken)
		}
	}
}

// TestSentencesAreReadable: one has no negative duration, and no state called "*".
func TestSentencesAreReadable(t *testing.T) {
	early := with(got(history.Valid, 1015, 1030), func(a *history.Answer) { a.Asked, a.StalenessMS = at(1005), nil })
	unknown := &history.Initial{Key: "k", States: []string{history.AnyState}}
	for want, records := range map[string][]history.Record{
		"acknowledged at 12:00:01.010000: 5ms earlier than that, and 5ms after the request": {became(history.Valid, 10), became(history.Disabled, 1000), early},
		"what it was before its first write had ended with the write of line 3 (VALID)":     {unknown, became(history.Valid, 10), got(history.Disabled, 490, 500)},
	} {
		r := judged(t, Input{History: file(t, exact(), records...)})
		if r.OK || !strings.Contains(r.Violations[0].Broken[0].Why, want) {
			t.Errorf("got %v, want %s", r.Violations, want)
		}
	}
}
