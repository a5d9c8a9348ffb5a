package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

var optimisationsRow = row{
	name:         "optimisations",
	title:        "the effect of single commits",
	measures:     "the effect of single optimisations: one Go benchmark each, run with the version before the commit and with the commit",
	comparedWith: "each other: ten runs of each version, alternately, compared by benchstat",
	goals:        "none; the figures are reported",
	run:          measureOptimisations,
	history:      true,
}

// speed is the file with the benchmarks.
const speed = "bench/speed/speed_test.go"

// benchmarksCommit is the last commit whose benchmarks compile with the versions below.
// Later ones use names that those versions do not have.
const benchmarksCommit = "018c1f2"

// optimisation is a commit that made keytail faster.
type optimisation struct {
	commit, description string
	// benchmark is the name of a benchmark in speed/.
	benchmark string
}

var optimisations = []optimisation{
	{"1066281", "The text of a key is checked and hashed without a copy. A record is decoded with its scopes in one memory block.", "BenchmarkHit"},
	{"f8b0669", "A query that was parsed before is not parsed again. The values of a response's headers are allocated as one block.", "BenchmarkForwardAuth"},
	{"a5e3b22", "gjson finds the fields of a request body; before, the body was decoded token by token.", "BenchmarkVerify"},
	{"d13d2cf", "Updated documents are read in batches of a hundred. (The database of this benchmark answers immediately, so only the number of reads matters.)", "BenchmarkRefresh"},
}

func measureOptimisations(ctx context.Context, e *env, r *result) error {
	for _, o := range optimisations {
		e.progress("%s: %s", o.commit, o.benchmark)
		text, err := o.compare(ctx, e)
		if err != nil {
			return fmt.Errorf("%s: %w", o.commit, err)
		}
		r.note(fmt.Sprintf("### %s, %s\n\n%s\n\n```text\n%s\n```", o.benchmark, o.commit, o.description, strings.TrimSpace(text)))
	}
	return nil
}

// compare runs the benchmark with both versions and returns the output of benchstat.
func (o *optimisation) compare(ctx context.Context, e *env) (string, error) {
	names := []string{"before", "after"}
	var programs []string
	var outputs [2]strings.Builder
	for i, commit := range []string{o.commit + "^", o.commit} {
		program, err := o.build(ctx, filepath.Join(e.dir, o.commit, names[i]), commit)
		if err != nil {
			return "", err
		}
		programs = append(programs, program)
	}
	for range 10 {
		for i, program := range programs {
			text, err := output(exec.CommandContext(ctx, program, "-test.run=^$", "-test.bench=^"+o.benchmark+"$", "-test.benchtime=0.3s", "-test.benchmem"))
			if err != nil {
				return "", err
			}
			outputs[i].WriteString(text)
		}
	}
	benchstat := inRepository(exec.CommandContext(ctx, "go", "tool", "-modfile=tools/go.mod", "benchstat"))
	for i, name := range names {
		file := programs[i] + ".txt"
		if err := os.WriteFile(file, []byte(outputs[i].String()), 0o644); err != nil {
			return "", err
		}
		benchstat.Args = append(benchstat.Args, name+"="+file)
	}
	return output(benchstat)
}

// build builds the test program of a version, with the benchmarks of benchmarksCommit.
func (o *optimisation) build(ctx context.Context, dir, commit string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "version.tar")
	if _, err := output(inRepository(exec.CommandContext(ctx, "git", "archive", "-o", archive, commit))); err != nil {
		return "", err
	}
	if _, err := output(exec.CommandContext(ctx, "tar", "-xf", archive, "-C", dir)); err != nil {
		return "", err
	}
	benchmarks, err := output(inRepository(exec.CommandContext(ctx, "git", "show", benchmarksCommit+":"+speed)))
	if err != nil {
		return "", fmt.Errorf("clone keytail with its history to run this row: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(speed)), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, speed), []byte(benchmarks), 0o644); err != nil {
		return "", err
	}
	program := filepath.Join(dir, "program.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "./"+filepath.Dir(speed))
	build.Dir = dir
	_, err = output(build)
	return program, err
}

// output returns the standard output of a command. Its error includes the standard error.
func output(command *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	command.Stderr = &stderr
	text, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command.Args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(text), nil
}
