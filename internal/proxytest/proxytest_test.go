package proxytest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keytail/keytail/internal/testprogram"
)

func TestVariableNamesTheProxy(t *testing.T) {
	for variable, find := range map[string]func(testing.TB) string{caddyVariable: CaddyCurrent, envoyVariable: Envoy} {
		want := filepath.Join(t.TempDir(), "proxy")
		if err := os.WriteFile(want, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv(variable, want)
		if got := find(t); got != want {
			t.Errorf("%s=%s: found %s", variable, want, got)
		}
	}
}

func TestEveryProxyCanBeRequired(t *testing.T) {
	for _, name := range []string{NameNginx, NameCaddy, NameCaddyCurrent, NameEnvoy} {
		t.Setenv(testprogram.RequireVariable, name)
		if !testprogram.IsRequired(t, name) {
			t.Errorf("%s is not required", name)
		}
	}
}
