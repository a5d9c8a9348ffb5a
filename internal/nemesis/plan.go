package nemesis

import (
	"math/rand/v2"
	"time"
)

// Step is one fault of a plan, after a pause in which all is well.
type Step struct {
	Pause time.Duration
	Kind  string
	// For is how long the fault lasts.
	For time.Duration
	// Victim is one of the instances, by number, or -1 for all of them.
	Victim int
}

// What is shorter than these shows nothing.
const (
	shortestPause = 500 * time.Millisecond
	shortestFault = 200 * time.Millisecond
)

// Plan makes the faults of a run: the same ones for the same arguments. Each
// kind comes before any comes twice. Four of five last less than half of
// maxStale, so that memory outlives them; the others last longer than maxStale.
func Plan(seed uint64, total time.Duration, kinds []string, victims int, maxStale time.Duration) []Step {
	random := rand.New(rand.NewPCG(seed, 0))
	var steps []Step
	var turn []string
	for at := time.Duration(0); ; {
		if len(turn) == 0 {
			turn = append(turn, kinds...)
			random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		s := Step{
			Pause:  between(random, shortestPause, 3*shortestPause),
			Kind:   turn[0],
			For:    between(random, shortestFault, maxStale/2),
			Victim: random.IntN(victims+1) - 1,
		}
		if random.IntN(5) == 0 {
			s.For = maxStale + between(random, 500*time.Millisecond, 2*time.Second)
		}
		if random.IntN(8) == 0 {
			// Now and then all traces of the last fault go away.
			s.Pause += Grace
		}
		if rest := total - at; s.Pause+s.For > rest {
			// The last one is what still fits.
			s.Pause = min(s.Pause, shortestPause)
			if s.For = min(s.For, rest-s.Pause); s.For < shortestFault {
				return steps
			}
		}
		at += s.Pause + s.For
		steps, turn = append(steps, s), turn[1:]
	}
}

func between(random *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(random.Int64N(int64(to-from)))
}
