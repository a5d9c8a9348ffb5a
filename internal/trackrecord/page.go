package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// entry is one defect of the page: a heading of its number, and a list of fields.
type entry struct {
	id     string
	group  string
	line   int
	fields map[string]string
}

// The fields of an entry. It has either a command or the reason why there is none.
const (
	fieldFound   = "Found"
	fieldWhere   = "Where"
	fieldShows   = "How it shows"
	fieldRepair  = "Repair"
	fieldCommand = "Command"
	fieldNone    = "Not reproducible here"
)

var (
	entryHeading = regexp.MustCompile(`^### (T\d+)$`)
	groupHeading = regexp.MustCompile(`^## (.+)$`)
	fieldLine    = regexp.MustCompile(`^- \*\*([^*]+):\*\* (.+)$`)
	codeOf       = regexp.MustCompile("^`([^`]+)`")
)

// parsePage reads the entries of the page, in their order.
func parsePage(text string) ([]entry, error) {
	var entries []entry
	var problems []error
	group := ""
	for i, line := range strings.Split(text, "\n") {
		if m := groupHeading.FindStringSubmatch(line); m != nil {
			group = m[1]
		} else if m := entryHeading.FindStringSubmatch(line); m != nil {
			entries = append(entries, entry{id: m[1], group: group, line: i + 1, fields: map[string]string{}})
		} else if m := fieldLine.FindStringSubmatch(line); m != nil && len(entries) > 0 {
			fields := entries[len(entries)-1].fields
			if fields[m[1]] != "" {
				problems = append(problems, fmt.Errorf("line %d: the field %q occurs twice", i+1, m[1]))
			}
			fields[m[1]] = m[2]
		}
	}
	for _, e := range entries {
		problems = append(problems, e.check())
	}
	return entries, errors.Join(problems...)
}

// check returns what is missing in an entry.
func (e entry) check() error {
	var problems []error
	for _, name := range []string{fieldFound, fieldWhere, fieldShows, fieldRepair} {
		if e.fields[name] == "" {
			problems = append(problems, fmt.Errorf("%s (line %d) has no field %q", e.id, e.line, name))
		}
	}
	if (e.fields[fieldCommand] == "") == (e.fields[fieldNone] == "") {
		problems = append(problems, fmt.Errorf("%s (line %d) needs either %q or %q", e.id, e.line, fieldCommand, fieldNone))
	} else if e.fields[fieldCommand] != "" {
		_, err := e.command()
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// command is a command of the page, taken apart.
type command struct {
	undo          string
	unguarded     bool
	pattern, dir  string
	isOfTheStages bool
}

var (
	undoCommand = regexp.MustCompile(`^go run \./internal/trackrecord undo ([a-z0-9-]+)$`)
	testCommand = regexp.MustCompile(`^go test (-tags unguarded )?-v -run '?([^' ]+)'? (\./[a-z/]+)$`)
)

func (e entry) command() (command, error) {
	code := codeOf.FindStringSubmatch(e.fields[fieldCommand])
	if code == nil {
		return command{}, fmt.Errorf("%s: the command must be in backquotes", e.id)
	}
	if m := undoCommand.FindStringSubmatch(code[1]); m != nil {
		return command{undo: m[1]}, nil
	}
	m := testCommand.FindStringSubmatch(code[1])
	if m == nil {
		return command{}, fmt.Errorf("%s: the command %q has none of the forms in internal/trackrecord/doc.go", e.id, code[1])
	}
	return command{unguarded: m[1] != "", pattern: m[2], dir: m[3], isOfTheStages: strings.HasPrefix(m[2], "TestStagedAnomalies/")}, nil
}
