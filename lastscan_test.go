package keytail

import (
	"context"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/mongotest"
)

// The tail asks the preload how long a scan takes: catching up may take twice as
// long.
func TestTheTailKnowsHowLongAScanTakes(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		client, database := s.Client(t), s.Database(t)
		mongotest.CreateAPIKeys(t, client.Database(database))
		p, err := newParts(Config{Client: client, Database: database, CacheSizeMiB: 8})
		if err != nil {
			t.Fatal(err)
		}
		service, err := p.service(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := p.lastScan(); got != 0 {
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
		mongotest.Eventually(t, 20*time.Second, func() bool { return p.lastScan() > 0 }, "no scan is known")
	})
}
