// Command generate writes the files that are made from the mixin: alerts.yaml,
// rules.yaml, dashboards/keytail.json, and the copies for the Helm chart.
//
//	go -C deploy/prometheus/generate run .
//
// For a rehearsal it writes the rules with shorter times to another folder:
//
//	go -C deploy/prometheus/generate run . -o /tmp/rehearsal -times-divided-by 20
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	output := flags.String("o", "", "the folder for the rules alone; empty: all files, at their places in the repository")
	divisor := flags.Int("times-divided-by", 1, "divides every for and every range of the rules; needs -o")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *output == "" && *divisor != 1 {
		return fmt.Errorf("-times-divided-by needs -o: the files of the repository have the whole times")
	}
	if *output != "" {
		rules, err := renderRules(*divisor)
		if err != nil {
			return err
		}
		return write(*output, rules)
	}
	// The mixin imports the dashboard.
	dashboard, err := renderDashboard()
	if err != nil {
		return err
	}
	if err := write(repository, map[string][]byte{dashboardFile: dashboard}); err != nil {
		return err
	}
	files, err := renderAll()
	if err != nil {
		return err
	}
	return write(repository, files)
}

// write writes files, by their paths in a folder.
func write(folder string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
