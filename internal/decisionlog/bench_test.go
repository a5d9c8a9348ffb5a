package decisionlog

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/alloctest"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// accepting is a Validator that accepts every key at no cost.
type accepting struct{}

func (accepting) Validate(context.Context, string, *apikey.Request) apikey.Verdict {
	return decided(apikey.Valid).Verdict
}

func (accepting) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

// running is a log whose Run writes to nowhere until the test ends.
func running(t testing.TB, ratio float64) *Log {
	t.Helper()
	l, err := New(Config{Path: Stdout, Stdout: io.Discard, AcceptRatio: ratio, Instance: "host/1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

// answer is forward-auth's answer to a request, with a decision log or without.
func answer(t testing.TB, decisions forwardauth.DecisionLog) func() {
	t.Helper()
	a, err := forwardauth.New(forwardauth.Config{Validator: accepting{}, Decisions: decisions, Operation: forwardauth.OperationForwardAuth})
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{RemoteAddr: "192.0.2.1:4711", Header: http.Header{
		"X-Api-Key": {"key-of-someone"}, forwardauth.HeaderTraceparent: {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}}
	header := http.Header{forwardauth.HeaderRequestID: {"id-1"}}
	return func() {
		if status, _ := a.Answer(r, &forwardauth.Question{}, header); status != http.StatusOK {
			t.Fatal(status)
		}
	}
}

// TestALogThatIsOffCostsNothing, and one that is on allocates nothing for a request
// either.
func TestALogThatIsOffCostsNothing(t *testing.T) {
	off := alloctest.PerCall(answer(t, nil))
	l, err := New(Config{Path: Stdout, Stdout: io.Discard, AcceptRatio: 1}) // without Run, which allocates
	if err != nil {
		t.Fatal(err)
	}
	if on := alloctest.PerCall(answer(t, l)); on != off {
		t.Errorf("%v allocations, without a log %v", on, off)
	}
	// The values of the headers are a block, a staleness is a text.
	if off > 2 {
		t.Errorf("%v allocations without a log", off)
	}
}

// BenchmarkAnswer is what the decision log costs a request whose key is in the cache.
func BenchmarkAnswer(b *testing.B) {
	for _, c := range []struct {
		name      string
		decisions func() forwardauth.DecisionLog
	}{
		{"off", func() forwardauth.DecisionLog { return nil }},
		{"1 percent", func() forwardauth.DecisionLog { return running(b, 0.01) }},
		{"all", func() forwardauth.DecisionLog { return running(b, 1) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			answer := answer(b, c.decisions())
			b.ReportAllocs()
			for b.Loop() {
				answer()
			}
		})
	}
}

// BenchmarkRecord is the part of Record. Most do not fit: the writer takes longer.
func BenchmarkRecord(b *testing.B) {
	l := running(b, 1)
	d := decided(apikey.Forbidden)
	b.ReportAllocs()
	for b.Loop() {
		l.Record(d)
	}
	b.ReportMetric(testutil.ToFloat64(l.metrics.dropped[droppedFull])/float64(b.N), "dropped/op")
}

// BenchmarkWrite is what one line costs the goroutine that writes.
func BenchmarkWrite(b *testing.B) {
	l, err := New(Config{Path: Stdout, Stdout: io.Discard, Instance: "host/1"})
	if err != nil {
		b.Fatal(err)
	}
	w := &writer{Log: l}
	w.json = encoder(&w.batch)
	e := entry{time.Now(), decided(apikey.Forbidden)}
	b.ReportAllocs()
	for b.Loop() {
		w.add(&e)
		if w.batch.Len() >= maxBatch {
			w.flush()
		}
	}
}
