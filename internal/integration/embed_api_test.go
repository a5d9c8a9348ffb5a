package integration

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestStatusOfAnEmbeddedService(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		status := r.service.Status()
		if status.State != keytail.StateLive || !status.Ready || !status.Strict || status.Staleness < 0 || !status.LostAt.IsZero() {
			t.Errorf("live: %+v", status)
		}
		mend := r.failCommands("update", "findAndModify")
		r.waitForState("stale")
		if status = r.service.Status(); status.State != keytail.StateStale || !status.Ready || status.Strict || status.Staleness < shortMaxStale {
			t.Errorf("without heartbeats: %+v", status)
		}
		mend()
		r.waitForState("live")
		r.service.Drain()
		if status = r.service.Status(); status.State != keytail.StateLive || status.Ready || status.Strict {
			t.Errorf("draining: %+v", status)
		}
	})
}

// TestSync: after an acknowledgement, every answer takes the write into account.
func TestSync(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		k := r.newValidKey()
		for _, scope := range []keytail.SyncScope{keytail.SyncInstance, keytail.SyncFleet} {
			for _, active := range []bool{false, true} {
				revision := auth.Revision(r.setActive(k, active))
				acknowledged, err := r.service.Sync(t.Context(), revision, scope)
				if err != nil || !acknowledged.Synced || len(acknowledged.Missing) != 0 {
					t.Fatalf("%s: %+v, %v", scope, acknowledged, err)
				}
				verdict, err := r.service.Validate(t.Context(), k.text, auth.Request{})
				if err != nil || verdict.Valid() != active || verdict.Revision < revision {
					t.Errorf("%s: got %s at revision %v, after the acknowledgement of %v: %v", scope, verdict.Code, verdict.Revision, revision, err)
				}
			}
		}
		revision := auth.Revision(r.setActive(k, false))
		if _, err := r.service.Sync(t.Context(), revision+1<<40, keytail.SyncInstance); !errors.Is(err, auth.ErrRevisionAhead) {
			t.Errorf("a revision in the future: %v", err)
		}
		if _, err := r.service.Sync(t.Context(), revision, "everyone"); err == nil || !strings.Contains(err.Error(), "everyone") {
			t.Errorf("an unknown scope: %v", err)
		}
	})
}

func TestSyncNamesMissingInstances(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		k := r.newValidKey()
		defer r.failCommands("getMore", "aggregate", "update", "findAndModify")()
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_stream_failures_total") > 0 }, "the stream did not fail")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		acknowledged, err := r.service.Sync(ctx, auth.Revision(r.setActive(k, false)), keytail.SyncInstance)
		if err != nil || acknowledged.Synced || len(acknowledged.Missing) != 1 {
			t.Errorf("got %+v, %v, want one missing instance", acknowledged, err)
		}
	})
}
