package nemesis

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

func TestWithheldAnswersAreFound(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	const maxStale = 10 * time.Second
	unavailable := func(ms int) Answer {
		return Answer{Key: "q", Instance: "i", Code: apikey.Unavailable, Quiet: true, Asked: at(ms - 10), Given: at(ms)}
	}
	for name, c := range map[string]struct {
		cached bool
		lost   int
		asked  int
		want   bool
	}{
		"cached and fresh": {cached: true, asked: 5000, want: true},
		"never cached":     {asked: 5000},
		"cached but stale": {cached: true, asked: 11000},
		"lost in between":  {cached: true, lost: 3000, asked: 5000},
		"lost long before": {cached: true, lost: -3000, asked: 5000, want: true},
	} {
		h := NewHistory()
		h.AddWrite("q", apikey.Valid, at(0))(at(1))
		if c.cached {
			h.AddAnswer(Answer{
				Key: "q", Instance: "i", Code: apikey.Valid, Quiet: true, Cached: true,
				Asked: at(999), Given: at(1000), AsOf: at(900), Staleness: 100 * time.Millisecond,
			})
		}
		if c.lost != 0 {
			h.AddLoss("i", Loss{At: at(c.lost), Reason: "history_lost"})
		}
		h.AddFault(Fault{Kind: "f", From: at(2000), To: at(4000)})
		h.AddAnswer(unavailable(c.asked))
		found := h.Check(maxStale)
		if got := len(found) == 1 && found[0].Rule == Withheld; got != c.want || len(found) > 1 {
			t.Errorf("%s: found %v", name, found)
		}
	}
}

func TestAnswersAreCountedByTheTimeOfFaults(t *testing.T) {
	zero := time.Now()
	at := func(s int) time.Time { return zero.Add(time.Duration(s) * time.Second) }
	h := NewHistory()
	h.AddFault(Fault{Kind: "f", From: at(10), To: at(12)})
	for s := range 30 {
		h.AddAnswer(Answer{Key: "k", Code: apikey.Unavailable, Asked: at(s), Given: at(s).Add(time.Millisecond)})
	}
	h.CheckUntil(time.Minute, at(15))
	h.CheckUntil(time.Minute, time.Time{})
	got := h.Availability()
	if got.Inside.Answers != 3 || got.After.Answers != 5 || got.Outside.Answers != 22 || got.Outside.Available() != 0 {
		t.Errorf("%+v", got)
	}
}
