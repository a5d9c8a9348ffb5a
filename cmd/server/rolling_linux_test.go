package main

import (
	"syscall"
	"testing"
	"time"
)

const (
	// rollingRestarts of the whole fleet, and under -short.
	rollingRestarts, fewRestarts = 20, 2
	// rollingDrain is short, so that sixty of them fit into a minute.
	rollingDrain = 250 * time.Millisecond
	// verifiers and visitors are the callers of verify and of the protected
	// application, each with one connection and a request every rollingPace.
	verifiers, visitors = 8, 4
	rollingPace         = 10 * time.Millisecond
)

// TestRollingRestartsLoseNoRequest restarts three instances behind nginx, one
// after another and again and again, under load.
func TestRollingRestartsLoseNoRequest(t *testing.T) {
	f := startFleet(t, rollingDrain, nil)
	rounds := rollingRestarts
	if testing.Short() {
		rounds = fewRestarts
	}
	traffic := f.startTraffic()
	began := time.Now()
	for range rounds {
		for _, i := range f.instances {
			traffic.untilAnswers(t, 20)
			if code := i.stop(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d after SIGTERM:\n%s", code, i.log())
			}
			i.start(t)
		}
	}
	traffic.end()
	t.Logf("%d rolling restarts of %d instances in %v", rounds, len(f.instances), time.Since(began).Round(time.Second))
	t.Log(traffic.summary())
	t.Log(f.accessSummary())
	for _, failure := range traffic.failures {
		t.Error(failure)
	}

	for _, i := range f.instances {
		i.stop(syscall.SIGTERM)
	}
	f.mustBeUnavailable(t)
}

// TestRollingRestartsCanFail is the same with what loses requests: an instance
// that is killed, and an nginx that tries no other instance. It shows that the counts of
// the test above mean something.
func TestRollingRestartsCanFail(t *testing.T) {
	f := startFleet(t, 0, func(config string) string {
		return substitute(t, config, "proxy_next_upstream error timeout http_503 non_idempotent;", "proxy_next_upstream off;")
	})
	traffic := f.startTraffic()
	traffic.untilAnswers(t, 200)
	for _, i := range f.instances[:2] {
		i.stop(syscall.SIGKILL)
		traffic.untilAnswers(t, 200)
		i.start(t)
	}
	traffic.end()
	t.Log(traffic.summary())
	t.Log(f.accessSummary())
	if len(traffic.failures) == 0 {
		t.Error("killed instances and no second try, and yet no request failed: the load does not see failures")
	}
}

// TestRequestsAreRetriedDuringRollingKills: the second try alone saves what a kill
// breaks, and the access log shows it.
func TestRequestsAreRetriedDuringRollingKills(t *testing.T) {
	f := startFleet(t, 0, nil)
	traffic := f.startTraffic()
	traffic.untilAnswers(t, 200)
	for _, i := range f.instances[:2] {
		i.stop(syscall.SIGKILL)
		traffic.untilAnswers(t, 200)
		i.start(t)
	}
	traffic.end()
	t.Log(traffic.summary())
	t.Log(f.accessSummary())
	for _, failure := range traffic.failures {
		t.Error(failure)
	}
	if f.accesses().again == 0 {
		t.Error("killed instances, and yet no request was asked again")
	}
}
