package main

import (
	"testing"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestBulkRuns(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	if err := new(bulkCommand).Run(t.Context(), &options{Quick: true, URI: server.URI}); err != nil {
		t.Error(err)
	}
}
