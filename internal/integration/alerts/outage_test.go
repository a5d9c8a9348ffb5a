// Package alerts tests the alerts of deploy/prometheus end to end: a real Prometheus
// scrapes a real daemon while faults are staged.
package alerts

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/mongotest"
)

var stage = flag.Bool("alerts.stage", false, "stage the faults of TestFaultsFireTheirAlerts, which takes more than a minute")

const (
	// divisor shortens the times of the rules: a minute is three seconds.
	divisor = 20
	// rest is how long nothing may happen while all is well.
	rest = 6 * time.Second
	// hold is how long exactly the expected alerts must fire.
	hold = 3 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// TestFaultsFireTheirAlerts: while all is well no alert fires, each fault fires exactly
// its alerts, and they end with it.
func TestFaultsFireTheirAlerts(t *testing.T) {
	if !*stage {
		t.Skip("it takes more than a minute: go test ./internal/integration/alerts -alerts.stage -v")
	}
	s := newStage(t)
	s.say("keytail and Prometheus run, with a request each 200 ms")
	s.calm()
	s.hold(rest)
	s.checkDashboard()

	s.say("FAULT: MongoDB cannot be reached any more")
	s.mongo.Node.BlackHole(keytailApp)
	outage := []string{"KeytailDown", "KeytailHeartbeatsFailing", "KeytailStale", "KeytailUnavailable"}
	s.await(outage...)
	s.hold(hold, outage...)
	s.say("REPAIR: MongoDB can be reached again")
	s.mongo.Node.Heal()
	s.await()

	s.say("FAULT: the token file is replaced by one that is wrong")
	s.writeTokens("web=short\n")
	s.await("KeytailFileRefused")
	s.hold(hold, "KeytailFileRefused")
	s.say("REPAIR: the token file is right again")
	s.writeTokens(tokens)
	s.await()

	s.say("FAULT: the oplog loses what keytail has not read yet")
	s.loseHistory()
	s.await("KeytailHistoryLost")
	s.hold(hold, "KeytailHistoryLost")

	s.say("FAULT: keytail is killed")
	s.keytail.Kill()
	gone := []string{"KeytailAbsent", "KeytailHistoryLost", "KeytailInstanceDown"}
	s.await(gone...)
	s.hold(hold, gone...)
}

// loseHistory makes the oplog forget a change that the stream has not read.
func (s *staged) loseHistory() {
	s.t.Helper()
	s.mongo.Node.Freeze(keytailApp)
	for i := range 3 {
		s.insert(fmt.Sprint("unread-", i), newKey(s.t))
	}
	s.mongo.Node.RollLog()
	s.mongo.Node.Heal()
}

// load sends a request each 200 ms until ctx ends.
func (s *staged) load(ctx context.Context) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.verify(ctx)
		}
	}
}

// verify ignores the outcome: the metrics have it.
func (s *staged) verify(ctx context.Context) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.public+"/v1/auth", http.NoBody)
	if err != nil {
		s.t.Error(err) // not Fatal: this is another goroutine
		return
	}
	request.Header.Set("X-Api-Key", s.key)
	if response, err := s.client.Do(request); err == nil {
		_ = response.Body.Close()
	}
}
