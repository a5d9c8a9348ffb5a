package main

import (
	"context"
	"fmt"
	"slices"
)

// ratios are the ratios of two sides, one for each round.
type ratios []float64

// alternate measures the sides one after the other, round after round, so that other
// work of the machine affects all of them alike. Each round starts with another side.
// It returns the figures of each side, in the order of the rounds.
func alternate(ctx context.Context, rounds int, sides ...func() (float64, error)) ([][]float64, error) {
	all := make([][]float64, len(sides))
	for round := range rounds {
		for turn := range sides {
			if err := ctx.Err(); err != nil {
				return nil, context.Cause(ctx)
			}
			side := (turn + round) % len(sides)
			figure, err := sides[side]()
			if err != nil {
				return nil, err
			}
			all[side] = append(all[side], figure)
		}
	}
	return all, nil
}

// comparePair runs alternate with two sides and returns the ratios of the first side's
// figures to the second side's.
func comparePair(ctx context.Context, rounds int, first, second func() (float64, error)) (ratios, error) {
	all, err := alternate(ctx, rounds, first, second)
	if err != nil {
		return nil, err
	}
	return ratiosOf(all[0], all[1]), nil
}

// ratiosOf returns the ratios of a's figures to b's, round by round.
func ratiosOf(a, b []float64) ratios {
	all := make(ratios, len(a))
	for i := range a {
		all[i] = a[i] / b[i]
	}
	return all
}

// median returns the median of the figures, or 0 if there are none.
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

// goal returns a goal for the median of the rounds.
func (r ratios) goal(name, sign string, want float64) goal {
	return goal{Name: name, Got: median(r), Sign: sign, Want: want, Low: slices.Min(r), High: slices.Max(r), Rounds: len(r)}
}

// text returns the median with its range.
func (r ratios) text() string {
	g := r.goal("", "", 0)
	return g.measured()
}

// span returns the median with its range, without the number of rounds.
func (r ratios) span() string {
	return fmt.Sprintf("%s (%s to %s)", number(median(r)), number(slices.Min(r)), number(slices.Max(r)))
}
