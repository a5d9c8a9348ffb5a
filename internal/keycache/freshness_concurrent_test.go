package keycache

import (
	"sync"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
)

// TestFreshHasSeveralCallers, each of which knows something else: the freshness never
// moves back, and in the end it is the newest of all.
func TestFreshHasSeveralCallers(t *testing.T) {
	r := live(t)
	base := r.now
	const callers, calls = 4, 2000
	var group, reader sync.WaitGroup
	done := make(chan struct{})
	reader.Go(func() {
		last := *r.Freshness()
		for {
			f := *r.Freshness()
			if f.AsOf.Before(last.AsOf) || f.Processed < last.Processed {
				t.Errorf("moved back from %+v to %+v", last, f)
			}
			last = f
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for caller := range callers {
		group.Go(func() {
			for i := range calls {
				// A caller that is ahead in time is behind in what it has processed.
				r.Fresh(Freshness{
					AsOf:      base.Add(time.Duration(callers*i+caller) * time.Millisecond),
					Processed: clustertime.Time(200 + callers*i - caller),
				})
			}
		})
	}
	group.Wait()
	close(done)
	reader.Wait()
	// The newest call does not have the largest Processed, but the largest one stays.
	newest := Freshness{AsOf: base.Add((callers*calls - 1) * time.Millisecond), Processed: 200 + callers*(calls-1) - (callers - 1)}
	if got := *r.Freshness(); !got.AsOf.Equal(newest.AsOf) || got.Processed < newest.Processed {
		t.Errorf("got %+v, want %+v or more processed", got, newest)
	}
}

// TestProcessedOfAnotherEpochDoesNotStay: cluster times may begin again at an earlier value
// in a restored database.
func TestProcessedOfAnotherEpochDoesNotStay(t *testing.T) {
	r := live(t)
	r.Fresh(Freshness{AsOf: r.now, Processed: 500})
	r.Fresh(Freshness{AsOf: r.now.Add(time.Second), Processed: 400})
	if got := r.Freshness().Processed; got != 500 {
		t.Errorf("moved back to %v within the epoch", uint64(got))
	}
	r.Lose()
	r.Open(300)
	r.Fresh(Freshness{AsOf: r.now.Add(2 * time.Second), Processed: 300})
	if got := r.Freshness().Processed; got != 300 {
		t.Errorf("%v is left from the previous epoch", uint64(got))
	}
}
