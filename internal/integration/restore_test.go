package integration

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestReadsGoOnAfterARestoreToAnEarlierTime: after a restore, the cache's floor, earlier
// revisions and the last position of the stream may be later than the server's time.
// Clients send that time ($clusterTime), so reads do not wait.
func TestReadsGoOnAfterARestoreToAnEarlierTime(t *testing.T) {
	for _, scope := range testkit.Scopes {
		t.Run(scope, func(t *testing.T) {
			stopped := time.Now() // the server's clock: only writes move its cluster time
			d := mongotest.StartDevmongo(t, devmongo.Config{Now: func() time.Time { return stopped }})
			r := start(t, d.InScope(scope), staged)
			k := r.newKey()
			r.waitForCode(k, apikey.Valid)
			snapshot := d.Node.Snapshot()
			for range 100 {
				r.set(k, "name", time.Now().String())
			}
			revision := r.setActive(k, false)
			r.sync(revision, true, testkit.WaitTimeout)
			r.waitForCode(k, apikey.Disabled)
			losses := r.metric("keytail_losses_total")
			d.Node.Restore(snapshot)
			if w := violation(r.validateSince(k, time.Now()), apikey.Valid); w != "" {
				t.Error(w)
			}
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_losses_total") > losses }, "got no loss")
			r.waitUntilCached(k)
			other := r.newKey()
			r.waitForCode(other, apikey.Valid)
			// A wait for a revision of the lost history ends like any other.
			if acknowledgement := r.sync(revision, true, testkit.WaitTimeout); !acknowledgement.Synced {
				t.Errorf("acknowledgement: got %+v", acknowledgement)
			}
		})
	}
}
