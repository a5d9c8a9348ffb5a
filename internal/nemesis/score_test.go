package nemesis

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

func TestScoreWithoutACollectionCountsApart(t *testing.T) {
	zero := time.Now()
	h := NewHistory()
	h.AddWrite("k", apikey.Valid, zero)(zero)
	h.AddWrite("k", apikey.Unavailable, zero.Add(time.Second))(zero.Add(time.Second))
	asked := zero.Add(time.Minute)
	h.AddAnswer(Answer{Key: "k", Code: apikey.Unavailable, Asked: asked, Given: asked})
	h.Check(time.Second)
	if got := h.Score(); got.Missing.Answers != 1 || got.Missing.Unavailable != 1 || got.Inside.Answers+got.Outside.Answers != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestScore has one answer for each thing that is counted. Created 10..20, revoked 1000..1010, restored
// 3000..3010 until it expires at 5000; max_stale is 100 ms.
func TestScore(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	const maxStale = 100 * time.Millisecond
	for _, c := range []struct {
		name   string
		code   apikey.Code
		given  int
		accept int // milliseconds after the acknowledgement or the expiry; negative: not counted
		late   bool
		wrong  bool
	}{
		{"valid", apikey.Valid, 500, -1, false, false},
		{"valid, while it was being revoked", apikey.Valid, 1005, -1, false, false},
		{"just revoked", apikey.Valid, 1060, 49, false, false},
		{"revoked", apikey.Valid, 1200, 189, true, false},
		{"expired", apikey.Valid, 5200, 199, true, false},
		{"refused", apikey.Disabled, 1200, -1, false, false},
		{"refused, soon after it was created", apikey.NotFound, 110, -1, false, false},
		{"refused, long after it was created", apikey.NotFound, 130, -1, false, true},
		{"refused, long after it was restored", apikey.Disabled, 3200, -1, false, true},
		{"not answered", apikey.Unavailable, 500, -1, false, false},
	} {
		h := NewHistory()
		h.AddWrite("k", apikey.Valid, at(10))(at(20))
		h.AddWrite("k", apikey.Disabled, at(1000))(at(1010))
		h.AddExpiringWrite("k", apikey.Valid, at(3000), at(5000))(at(3010))
		h.AddFault(Fault{Kind: "any", From: at(0), To: at(2000)})
		h.AddAnswer(Answer{Key: "k", Code: c.code, Asked: at(c.given - 1), Given: at(c.given), NoAge: true, Instance: "i"})
		found := h.Check(maxStale)
		got := h.Score()
		served, other := got.Inside, got.Outside
		if c.given > 2000 {
			served, other = other, served
		}
		if served.Answers != 1 || other.Answers != 0 || served.Unavailable == 1 != (c.code == apikey.Unavailable) || served.WrongNos == 1 != c.wrong {
			t.Errorf("%s: got %+v", c.name, got)
		}
		want := 1.0
		if c.wrong || c.code == apikey.Unavailable {
			want = 0
		}
		if served.Share() != want {
			t.Errorf("%s: served %v, want %v", c.name, served.Share(), want)
		}
		if accepted := got.Accepted == 1; accepted != (c.accept >= 0) || got.LateAcceptances == 1 != c.late {
			t.Errorf("%s: got %d accepted, %d late", c.name, got.Accepted, got.LateAcceptances)
		}
		if want := time.Duration(max(c.accept, 0)) * time.Millisecond; got.Longest() != want {
			t.Errorf("%s: longest %v, want %v", c.name, got.Longest(), want)
		}
		if got.Revocations != 1 {
			t.Errorf("%s: got %d revocations, want 1", c.name, got.Revocations)
		}
		// An answer without an age is wrong if and only if it is wrong by the bound.
		if wrong := len(found) > 0; wrong != (c.late || c.wrong) {
			t.Errorf("%s: got %v", c.name, found)
		}
	}
}
