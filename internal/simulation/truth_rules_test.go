package simulation

import (
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keystore"
)

// second is a moment of the histories below.
func second(n float64) time.Time { return began.Add(time.Duration(n * float64(time.Second))) }

// document is one with the hash of the first key.
func document(id, name string, active bool) keystore.Document {
	return keystore.Document{
		Hash: keys[0].hash, HasHash: true,
		Record: apikey.Record{KeyID: id, UserID: "user", Name: name, Active: active, Scopes: []string{"read"}},
	}
}

// answered is an answer with this record, asked and given at a moment, as of another one.
func answered(code apikey.Code, d *keystore.Document, asOf, given float64) *answer {
	a := &answer{key: keys[0], asked: second(given), given: second(given), request: apikey.Request{Scopes: []string{"read"}}}
	a.verdict = apikey.Verdict{Code: code, Source: apikey.SourceCache, AsOf: second(asOf), Staleness: second(given).Sub(second(asOf))}
	if d != nil {
		a.verdict.Record = &d.Record
	}
	return a
}

// TestTheOracleFindsWhatIsWrong has answers about a key that is created at 10 s, switched off at 20 s, and deleted at
// 30 s.
func TestTheOracleFindsWhatIsWrong(t *testing.T) {
	on, off, other := document("d0", "a", true), document("d0", "a", false), document("d0", "b", true)
	h := &truth{states: []state{
		{from: second(0), time: 1},
		{from: second(10), time: 10, documents: []keystore.Document{on}},
		{from: second(20), time: 20, documents: []keystore.Document{off}},
		{from: second(30), time: 30},
	}}
	late := answered(apikey.Valid, &on, 19, 25)
	late.verdict.Staleness -= time.Second
	ahead := answered(apikey.Unavailable, nil, 0, 25)
	ahead.reached, ahead.verdict.Problem = true, apikey.RevisionAhead
	ignored := answered(apikey.Valid, &on, 19, 25)
	ignored.verdict.Revision = 20
	short := answered(apikey.Valid, &on, 12, 13)
	short.request.MinRevision = 5
	for _, c := range []struct {
		what   string
		answer *answer
		wrong  string
	}{
		{"valid", answered(apikey.Valid, &on, 12, 13), ""},
		{"valid for as long as it reports", answered(apikey.Valid, &on, 19, 25), ""},
		{"too late", answered(apikey.Valid, &on, 21, 25), "no state"},
		{"older than max_stale", answered(apikey.Valid, &on, 12, 28), "max_stale"},
		{"another version", answered(apikey.Valid, &other, 12, 13), "no state"},
		{"a staleness that is too small", late, "staleness is wrong"},
		{"off", answered(apikey.Disabled, &off, 21, 25), ""},
		{"off too early", answered(apikey.Disabled, &off, 12, 13), "no state"},
		{"absent before", answered(apikey.NotFound, nil, 5, 6), ""},
		{"absent although it exists", answered(apikey.NotFound, nil, 12, 13), "no state"},
		{"present although deleted", answered(apikey.Disabled, &off, 31, 32), "no state"},
		{"unavailable", answered(apikey.Unavailable, nil, 0, 25), ""},
		{"a revision that is not ahead", ahead, "said to be ahead"},
		{"a change that the revision contains is ignored", ignored, "no state"},
		{"the revision is not reached", short, "not the one that was asked for"},
	} {
		if got := h.wrong(c.answer, 15*time.Second); !strings.Contains(got, c.wrong) || (got == "") != (c.wrong == "") {
			t.Errorf("%s: %q, want %q", c.what, got, c.wrong)
		}
	}
}

// TestTheOracleHearsBothOfTwoDocuments: of two documents with one hash, one that is off all the time refuses.
func TestTheOracleHearsBothOfTwoDocuments(t *testing.T) {
	on, off := document("d0", "a", true), document("d1", "b", false)
	both := state{from: second(10), time: 10, documents: []keystore.Document{on, off}}
	alone := state{from: second(20), time: 20, documents: []keystore.Document{on}}
	h := &truth{states: []state{{from: second(0)}, both, alone}}
	if h.wrong(answered(apikey.Valid, &on, 12, 15), time.Minute) == "" {
		t.Error("VALID from one document while the other one is off")
	}
	for asOf, a := range map[float64]*answer{12: answered(apikey.Disabled, &off, 12, 15), 15: answered(apikey.Valid, &on, 15, 25)} {
		if wrong := h.wrong(a, time.Minute); wrong != "" {
			t.Errorf("as of %v: %s", asOf, wrong)
		}
	}
}

// TestTheMajorityDecides: what a majority does not have is no state, and may never be one.
func TestTheMajorityDecides(t *testing.T) {
	h := &truth{states: []state{{from: second(0)}}}
	h.pending = []state{{time: clustertime.Time(1)}}
	h.rollback()
	h.commit()
	if len(h.states) != 1 {
		t.Errorf("%d states after a rollback", len(h.states))
	}
}
