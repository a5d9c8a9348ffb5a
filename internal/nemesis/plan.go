package nemesis

import (
	"math/rand/v2"
	"time"
)

// Step is one fault of a plan, after a pause without faults.
type Step struct {
	Pause time.Duration
	Kind  string
	// For is how long the fault lasts.
	For time.Duration
	// Victim is the index of an instance, or -1 for all of them.
	Victim int
}

// shortestFault is the duration below which a fault has no effect.
const shortestFault = 200 * time.Millisecond

// Pace sets the intervals and durations of faults. Long and LongPause are chances: n
// means one in n.
type Pace struct {
	// Pause is the shortest pause between faults; the longest is three times as long.
	Pause time.Duration
	// Short is the maximum duration of a fault that the cache can bridge.
	Short time.Duration
	// Long is the chance of a fault that lasts longer than maxStale.
	Long int
	// LongPause is the chance of a pause that is longer than Grace. Zero: never.
	LongPause int
}

// Sparse leaves time after a fault to verify that keytail has recovered.
func Sparse(maxStale time.Duration) Pace {
	return Pace{Pause: 500 * time.Millisecond, Short: maxStale / 2, Long: 5, LongPause: 8}
}

// Dense fits each of about twenty kinds of faults into half a minute.
func Dense() Pace {
	return Pace{Pause: 100 * time.Millisecond, Short: 700 * time.Millisecond, Long: 12}
}

// Plan returns the faults of a run: the same faults for the same arguments. Each kind
// occurs once before any kind occurs twice.
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
		if pace.LongPause > 0 && random.IntN(pace.LongPause) == 0 {
			// Wait until the last fault has no more effects.
			s.Pause += Grace
		}
		if rest := total - at; s.Pause+s.For > rest {
			// Shorten the last fault so that it fits.
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
