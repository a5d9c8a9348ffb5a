package main

import (
	"context"
	"slices"
)

// ratios are those of one round each.
type ratios []float64

// inTurn measures sides one after the other, round after round, so that whatever else
// the machine does meets all of them; each round begins with another one. It returns
// the figures of each side, in the rounds' order.
func inTurn(ctx context.Context, rounds int, sides ...func() (float64, error)) ([][]float64, error) {
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

// paired is inTurn for two sides. The ratio is that of the first side's figure to the
// second's.
func paired(ctx context.Context, rounds int, first, second func() (float64, error)) (ratios, error) {
	all, err := inTurn(ctx, rounds, first, second)
	if err != nil {
		return nil, err
	}
	return ratiosOf(all[0], all[1]), nil
}

// ratiosOf are those of a's figures to b's, round by round.
func ratiosOf(a, b []float64) ratios {
	all := make(ratios, len(a))
	for i := range a {
		all[i] = a[i] / b[i]
	}
	return all
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

// text is the median with the range.
func (r ratios) text() string {
	g := r.goal("", "", 0)
	return g.measured()
}
