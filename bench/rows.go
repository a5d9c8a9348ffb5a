package main

import (
	"context"
	"fmt"
	"slices"
)

// row is one comparison of the report.
type row struct {
	// name is used on the command line and in the name of the result's file.
	name string
	// title, measures, comparedWith and goals describe the row in words, for the report.
	title, measures, comparedWith, goals string
	run                                  func(ctx context.Context, e *env, r *result) error
	// server reports whether the row measures with MongoDB or a replacement for it.
	server bool
	// history reports whether the row builds older versions. It then needs a clone with
	// its history, and takes minutes.
	history bool
}

// rows are all rows, in the order of the report.
var rows = []row{hitRow, authRow, verifyRow, workloadRow, delayRow, faultsRow, eventsRow, preloadRow, unknownKeysRow, coldRow, fleetRow, proxiesRow, profileRow, optimisationsRow}

// choose returns the rows with these names.
func choose(names []string) ([]row, error) {
	if slices.Equal(names, []string{"all"}) {
		return rows, nil
	}
	var chosen []row
	for _, name := range names {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q: run list to see the names", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}
