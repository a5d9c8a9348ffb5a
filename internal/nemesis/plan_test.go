package nemesis

import (
	"reflect"
	"testing"
	"time"
)

func TestPlanIsTheSameForTheSameSeed(t *testing.T) {
	kinds := []string{"a", "b", "c"}
	for seed := range uint64(200) {
		steps := Plan(seed, 20*time.Second, Sparse(6*time.Second), kinds, 3, 6*time.Second)
		if !reflect.DeepEqual(steps, Plan(seed, 20*time.Second, Sparse(6*time.Second), kinds, 3, 6*time.Second)) {
			t.Fatalf("seed %d: two calls return different plans", seed)
		}
		var lasts time.Duration
		for _, s := range steps {
			lasts += s.Pause + s.For
			if s.Victim < -1 || s.Victim > 2 {
				t.Errorf("seed %d: there is no instance %d", seed, s.Victim)
			}
		}
		if lasts > 20*time.Second || lasts < 19*time.Second {
			t.Errorf("seed %d: a plan of 20 s takes %v", seed, lasts)
		}
		seen := map[string]bool{}
		for _, s := range steps[:min(len(steps), len(kinds))] {
			seen[s.Kind] = true
		}
		if len(seen) != min(len(steps), len(kinds)) {
			t.Errorf("seed %d: a kind occurs twice before every kind has occurred: %v", seed, steps)
		}
	}
	if reflect.DeepEqual(Plan(1, time.Minute, Dense(), kinds, 3, 6*time.Second), Plan(2, time.Minute, Dense(), kinds, 3, 6*time.Second)) {
		t.Error("two seeds have the same plan")
	}
}
