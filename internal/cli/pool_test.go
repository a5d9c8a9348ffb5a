package cli

import (
	"strings"
	"testing"
)

func TestReadsAreCappedBelowThePool(t *testing.T) {
	for uri, want := range map[string]int64{
		"mongodb://h/":                  96,
		"mongodb://h/?maxPoolSize=10":   6,
		"mongodb://h/?maxPoolSize=0":    96,
		"mongodb://h/?maxPoolSize=5000": 4996,
	} {
		opts, err := clientOptions(uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := maxReads(opts); got != want {
			t.Errorf("%s: %d reads, want %d", uri, got, want)
		}
	}
	if _, err := clientOptions("mongodb://h/?maxPoolSize=4"); err == nil || !strings.Contains(err.Error(), "at least 5 connections") {
		t.Errorf("a pool of 4: %v", err)
	}
}
