package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// fleetAnomalies are wrong write acknowledgements of the fleet.
func fleetAnomalies() []anomaly {
	return []anomaly{
		{name: "failover to a primary whose clock is ahead", shows: []string{"FleetOwnClock"}, stage: clocksApart},
	}
}

// aheadBy is longer than an instance stays in the fleet after its last heartbeat:
// max_stale and fleet.Margin.
const aheadBy = 25 * time.Second

// clocksApart: an instance has lost its stream and cannot write heartbeats,
// so it answers from its cache until max_stale has passed. Meanwhile the key is
// revoked, and the next heartbeats get their dates from a primary whose clock is
// ahead.
func clocksApart(t *testing.T, scope string) string {
	r, node := stagedService(t, scope, devmongo.Config{})
	cutOff := r.run(prometheus.NewRegistry(), zap.NewNop(), staged, func(c *daemon.Config) {
		c.Client, c.InstanceName = r.server.Client(t, "cutOff"), "cutOff"
	})
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	r.waitUntilCached(k)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.WaitTimeout)
	defer cancel()
	if acknowledgement, err := cutOff.Syncer().Wait(ctx, r.setActive(k, true), true); err != nil || !acknowledgement.Synced || len(acknowledgement.Instances) != 2 {
		t.Fatalf("before the failover: %+v, %v", acknowledgement, err)
	}
	r.waitUntilCached(k)
	failing(r, 11601, "getMore", "aggregate", "update", "findAndModify", "delete")
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_stream_failures_total") > 0 }, "the stream did not fail")
	revision := r.setActive(k, false)
	node.SetWallClock(aheadBy)
	node.StepDown(0)
	node.StepUp()
	ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	acknowledgement, err := cutOff.Syncer().Wait(ctx, revision, true)
	if err != nil {
		t.Fatal(err)
	}
	v := r.validate(k)
	if v.Code != apikey.Valid || v.Source != apikey.SourceCache {
		t.Fatalf("the instance without a stream: got %v (source %v): the stage does not work", v.Code, v.Source)
	}
	if !acknowledgement.Synced {
		return ""
	}
	return fmt.Sprintf("synced is %v, and an instance answers %v from the cache at revision %x, before revision %x",
		acknowledgement.Synced, v.Code, v.Revision, uint64(revision))
}
