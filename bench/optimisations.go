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
	name:    "optimisations",
	what:    "the effect of optimisations: one Go benchmark, run on the version before the commit and on the commit",
	against: "each other, alternating, ten times each; compared by benchstat",
	reach:   "stated",
	run:     measureOptimisations,
	history: true,
}

// speed has the benchmarks.
const speed = "bench/speed/speed_test.go"

// benchmarksCommit is the last commit whose benchmarks compile with the versions below:
// later ones use names that those versions do not have.
const benchmarksCommit = "018c1f2"

// optimisation is a commit that made something faster.
type optimisation struct {
	commit, what string
	// benchmark is one of speed/.
	benchmark string
}

var optimisations = []optimisation{
	{"1066281", "A key's text is checked and hashed without a copy, and a record is decoded with its scopes in the same block.", "BenchmarkHit"},
	{"f8b0669", "A query that was read before is not read again, and the values of an answer's headers are one block.", "BenchmarkForwardAuth"},
	{"a5e3b22", "gjson finds the fields of a body; before, it was decoded token by token.", "BenchmarkVerify"},
	{"d13d2cf", "What updates have touched is read a hundred documents at once. (The database of this benchmark answers at once; what counts is how often it is asked.)", "BenchmarkRefresh"},
}

func measureOptimisations(ctx context.Context, e *env, r *result) error {
	for _, o := range optimisations {
		e.say("%s: %s", o.commit, o.benchmark)
		text, err := o.compare(ctx, e)
		if err != nil {
			return fmt.Errorf("%s: %w", o.commit, err)
		}
		r.note(fmt.Sprintf("### %s, %s\n\n%s\n\n```text\n%s\n```", o.benchmark, o.commit, o.what, strings.TrimSpace(text)))
	}
	return nil
}

// compare runs the benchmark with both versions and returns what benchstat says.
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

// build makes the test program of a version, with the benchmarks of benchmarksCommit.
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
		return "", fmt.Errorf("this row needs a clone of keytail with its history: %w", err)
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

// output is what a command prints; its error has what the command said.
func output(command *exec.Cmd) (string, error) {
	var said bytes.Buffer
	command.Stderr = &said
	text, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command.Args[0], err, strings.TrimSpace(said.String()))
	}
	return string(text), nil
}
