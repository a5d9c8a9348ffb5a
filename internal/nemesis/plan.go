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

// A fault that is shorter shows nothing.
const shortestFault = 200 * time.Millisecond

// Pace says how close faults follow on each other. Every other number is a
// chance of one in so many.
type Pace struct {
	// Pause is the shortest time without a fault, a third of the longest.
	Pause time.Duration
	// Short is the longest that a fault lasts whose traces memory outlives.
	Short time.Duration
	// Long faults outlast maxStale.
	Long int
	// Peace is a pause that outlasts Grace. Zero: there is none.
	Peace int
}

// Leisurely leaves time to see that all is well again.
func Leisurely(maxStale time.Duration) Pace {
	return Pace{Pause: 500 * time.Millisecond, Short: maxStale / 2, Long: 5, Peace: 8}
}

// Dense has each of some twenty kinds of faults within half a minute.
func Dense() Pace {
	return Pace{Pause: 100 * time.Millisecond, Short: 700 * time.Millisecond, Long: 12}
}

// Plan makes the faults of a run: the same ones for the same arguments. Each
// kind comes before any comes twice.
func Plan(seed uint64, total time.Duration, pace Pace, kinds []string, victims int, maxStale time.Duration) []Step {
	random := rand.New(rand.NewPCG(seed, 0))
	var steps []Step
	var turn []string
	for at := time.Duration(0); ; {
		if len(turn) == 0 {
			turn = append(turn, kinds...)
			random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		s := Step{
			Pause:  between(random, pace.Pause, 3*pace.Pause),
			Kind:   turn[0],
			For:    between(random, shortestFault, pace.Short),
			Victim: random.IntN(victims+1) - 1,
		}
		if random.IntN(pace.Long) == 0 {
			s.For = maxStale + between(random, 500*time.Millisecond, 2*time.Second)
		}
		if pace.Peace > 0 && random.IntN(pace.Peace) == 0 {
			// Now and then all traces of the last fault go away.
			s.Pause += Grace
		}
		if rest := total - at; s.Pause+s.For > rest {
			// The last one is what still fits.
			s.Pause = min(s.Pause, pace.Pause)
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
