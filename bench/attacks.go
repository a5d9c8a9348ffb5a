package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/keytail/keytail/bench/attack"
	"github.com/keytail/keytail/bench/child"
)

type attacksCommand struct {
	Binary []string `placeholder:"NAME=FILE" help:"A binary to attack, and its name in the table. Several make a table with a column for each. Default: it is built from this repository."`
}

// Run attacks each binary, and prints a table.
func (c *attacksCommand) Run(ctx context.Context, o *options) error {
	e, err := newEnv(o, "attacks")
	if err != nil {
		return err
	}
	defer e.close()
	binaries := c.Binary
	if len(binaries) == 0 {
		built, err := child.Build(ctx, repository, e.dir)
		if err != nil {
			return err
		}
		binaries = []string{"this repository=" + built}
	}
	t := table{Head: []string{"attack"}}
	for _, a := range attack.All {
		t.Rows = append(t.Rows, []string{a.Name})
	}
	for i, binary := range binaries {
		name, path, named := strings.Cut(binary, "=")
		if !named {
			return errors.New("--binary needs NAME=FILE, such as before=/tmp/keytail")
		}
		results, err := attackOne(ctx, e, name, path, i)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.Head = append(t.Head, name)
		for n, result := range results {
			t.Rows[n] = append(t.Rows[n], result)
		}
	}
	var text bytes.Buffer
	writeTable(&text, t)
	fmt.Print(text.String())
	return nil
}

func attackOne(ctx context.Context, e *env, name, path string, i int) ([]string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(e.dir, fmt.Sprint("attacks-", i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return attack.Run(ctx, attack.All, path, dir, func(a attack.Attack, result string) { e.progress("%s: %s: %s", name, a.Name, result) })
}
