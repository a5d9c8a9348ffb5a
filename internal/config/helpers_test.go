package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// grammar is a small command line like the real one.
type grammar struct {
	Serve struct {
		Config
	} `cmd:"" default:"withargs"`
	Other struct {
		OpsAddr string `default:"127.0.0.1:9090"`
		File    string `name:"config"`
	} `cmd:""`
}

// load parses args; the error joins what Parse finds.
func load(t *testing.T, args ...string) (*Config, Given, error) {
	t.Helper()
	var g grammar
	parser, err := NewParser(&g, kong.Exit(func(int) { t.Error("the parser exits") }))
	if err != nil {
		t.Fatal(err)
	}
	_, given, err := parser.Parse(args)
	g.Serve.Policies = parser.Policies()
	g.Serve.Complete(given)
	return &g.Serve.Config, given, err
}

func mustLoad(t *testing.T, args ...string) (*Config, Given) {
	t.Helper()
	c, given, err := load(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return c, given
}

// yamlFile writes a configuration file and returns its path.
func yamlFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keytail.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantAll fails unless the error has each text, and as many lines as texts.
func wantAll(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q:\n%v", text, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(texts) {
		t.Errorf("%d lines, want one for each of %q:\n%v", lines, texts, err)
	}
}
