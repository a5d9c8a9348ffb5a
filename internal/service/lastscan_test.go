package service

import (
	"context"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/mongotest"
)

// The tail reads how long a scan takes: catching up may take twice as long.
func TestTheTailKnowsHowLongAScanTakes(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		client, database := s.Client(t), s.Database(t)
		mongotest.CreateAPIKeys(t, client.Database(database))
		service, err := New(t.Context(), Config{Client: client, Database: database, StreamScope: changestream.Scope(s.StreamScope), CacheSizeMiB: 8})
		if err != nil {
			t.Fatal(err)
		}
		if got := service.LastScan(); got != 0 {
			t.Errorf("before any scan: %v", got)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- service.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		mongotest.Eventually(t, 20*time.Second, func() bool { return service.LastScan() > 0 }, "no scan is known")
	})
}
