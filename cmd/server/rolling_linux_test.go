package main

import (
	"syscall"
	"testing"
	"time"
)

const (
	// The number of restarts of the whole fleet, and with -short.
	rollingRestarts, fewRestarts = 20, 2
	// rollingDrain is short, so that sixty of them fit into a minute.
	rollingDrain = 250 * time.Millisecond
	// verifiers and visitors are the numbers of callers of verify and of the protected
	// application, each with one connection and one request per rollingPace.
	verifiers, visitors = 8, 4
	rollingPace         = 10 * time.Millisecond
)

// TestRollingRestartsLoseNoRequest repeatedly restarts three instances behind nginx, one
// after another, under load.
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

// TestRollingRestartsCanFail is the same with killed instances, and an nginx that retries
// no request. It proves that the test above can fail.
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
		t.Error("got no failed request with killed instances and no retries: the load does not detect failures")
	}
}

// TestRequestsAreRetriedDuringRollingKills: nginx retries the requests that a kill breaks,
// and the access log shows it.
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
		t.Error("got no retried request with killed instances")
	}
}
