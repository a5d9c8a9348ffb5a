package main

import (
	"context"
	"slices"
)

// ratios are those of one round each.
type ratios []float64

// paired measures two sides in turn, round after round, so that whatever else the
// machine does meets both; the side that begins changes every round. The ratio is
// that of the first side's figure to the second's.
func paired(ctx context.Context, rounds int, first, second func() (float64, error)) (ratios, error) {
	var all ratios
	for round := range rounds {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		sides := []func() (float64, error){first, second}
		var got [2]float64
		for turn := range sides {
			side := (turn + round) % len(sides)
			var err error
			if got[side], err = sides[side](); err != nil {
				return nil, err
			}
		}
		all = append(all, got[0]/got[1])
	}
	return all, nil
}

// median of figures, 0 of none.
func median(figures []float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// goal is what the rounds say.
func (r ratios) goal(name, sign string, want float64) goal {
	return goal{Name: name, Got: median(r), Sign: sign, Want: want, Low: slices.Min(r), High: slices.Max(r), Rounds: len(r)}
}
