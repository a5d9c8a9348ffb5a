package devmongo

import (
	"errors"
	"testing"
)

func TestNewRejectsProductionAndPublicAddresses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"KEYTAIL_ENV", "ENVIRONMENT"} {
		_, err := New(Config{Getenv: func(asked string) string {
			if asked == name {
				return "Production"
			}
			return ""
		}})
		if !errors.Is(err, ErrProduction) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:0"} {
		if _, err := New(Config{Getenv: noEnv, Addr: addr}); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if _, err := New(Config{Getenv: noEnv, Addr: "nonsense"}); err == nil {
		t.Error("an address without a port was accepted")
	}
}
