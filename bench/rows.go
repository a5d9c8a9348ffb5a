package main

import (
	"context"
	"errors"
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
	// manual reports whether the row needs programs that take minutes to build. Tests do
	// not run it.
	manual bool
	// needsURI is why the row says something only about a real server. Empty: it does not. Tests run
	// the row nevertheless.
	needsURI string
}

// canRun fails if the options lack what the row needs.
func (r *row) canRun(o *options) error {
	if r.needsURI != "" && o.URI == "" && !o.Quick {
		return errors.New("set --uri to a real replica set: " + r.needsURI)
	}
	return nil
}

// description says in words what a row is. It is saved with each result, so that the report
// can say which results are older than the row that they belong to.
type description struct{ Measures, ComparedWith, Goals string }

func (r *row) description() description {
	return description{Measures: r.measures, ComparedWith: r.comparedWith, Goals: r.goals}
}

// rows are all rows, in the order of the report.
var rows = []row{
	hitRow,
	authRow,
	checkRow,
	verifyRow,
	workloadRow,
	peersRow,
	delayRow,
	otherCachesRow,
	eventsRow,
	preloadRow,
	scanRow,
	unknownKeysRow,
	coldRow,
	listsRow,
	instancesRow,
	fleetRow,
	proxiesRow,
	profileRow,
	optimisationsRow,
}

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
