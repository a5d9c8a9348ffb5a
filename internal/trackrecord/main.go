package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

const pagePath = "docs/track-record.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "trackrecord:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 0:
		return showAll(ctx, out)
	case len(args) == 1 && args[0] == "list":
		for _, u := range undos() {
			_, _ = fmt.Fprintf(out, "%-28s %s in %s\n", u.name, u.test, u.pkg)
		}
		return nil
	case len(args) == 2 && args[0] == "undo":
		return showUndo(ctx, out, args[1])
	}
	return fmt.Errorf("unknown arguments %q: use none, list, or undo NAME", args)
}

// showUndo takes one repair back, prints it as a difference, and runs its test.
func showUndo(ctx context.Context, out io.Writer, name string) error {
	for _, u := range undos() {
		if u.name != name {
			continue
		}
		for _, e := range u.edits {
			_, _ = fmt.Fprintf(out, "%s:\n%s%s", e.file, marked("-", e.old), marked("+", e.new))
		}
		results, err := goTest(ctx, batch{pkgs: []string{u.pkg}, patterns: []string{u.test}, undos: []undo{u}})
		if err != nil {
			return err
		}
		shown, err := u.evaluate(results)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "without the repair, as expected, %s fails:\n  %s\n", u.test, shown)
		return nil
	}
	return fmt.Errorf("there is no undo %q: see go run ./internal/trackrecord list", name)
}
