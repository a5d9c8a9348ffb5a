package main

import (
	"context"
	"fmt"
	"slices"
)

// row is one line of the report.
type row struct {
	// name is that of the command line and of the result's file.
	name string
	// what is measured, against what, and what is to be reached, in words.
	what, against, reach string
	run                  func(ctx context.Context, e *env, r *result) error
	// server: it measures with MongoDB, or what stands for it.
	server bool
	// history: it compares with older versions, so it needs git and takes minutes.
	history bool
}

// rows are all, in the report's order.
var rows = []row{hitRow, authRow, verifyRow, workloadRow, delayRow, faultsRow, eventsRow, preloadRow, garbageRow, coldRow, fleetRow, proxiesRow, profileRow, optimisationsRow}

// choose finds rows by their names.
func choose(names []string) ([]row, error) {
	if slices.Equal(names, []string{"all"}) {
		return rows, nil
	}
	var chosen []row
	for _, name := range names {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q: list shows them", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}
