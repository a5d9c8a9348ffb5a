package integration

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// changeTo waits for the last log line about a change to this state.
func changeTo(t *testing.T, logs *observer.ObservedLogs, state string) observer.LoggedEntry {
	t.Helper()
	var found []observer.LoggedEntry
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		found = logs.FilterMessage("state changed").FilterField(zap.String("to", state)).All()
		return len(found) > 0
	}, "the log has no change to ", state)
	return found[len(found)-1]
}

// TestTheLogTellsAnOutage with what failed first, its error, what is tried next, and how
// long it took.
func TestTheLogTellsAnOutage(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		core, logs := observer.New(zap.DebugLevel)
		r := start(t, s, withShortMaxStale, func(c *daemon.Config) { c.Logger = zap.New(core) })
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		logs.TakeAll()
		mend := r.failCommands("update", "findAndModify", "find")
		changeTo(t, logs, "stale") // before a request makes it down
		r.waitForCode(k, apikey.Unavailable)
		for _, want := range []struct {
			state string
			level zapcore.Level
			reads bool // whether linearizable reads fail
		}{
			{"stale", zap.WarnLevel, false},
			{"down", zap.ErrorLevel, true},
		} {
			line := changeTo(t, logs, want.state)
			fields := line.ContextMap()
			failure, _ := fields["error"].(string)
			if line.Level != want.level || fields["cause"] != "heartbeats are not acknowledged" || want.reads != (fields["read_error"] != nil) || !strings.Contains(failure, "11601") && !strings.Contains(failure, "Interrupted") && !strings.Contains(failure, "failpoint") {
				t.Errorf("%s: %v %v", want.state, line.Level, fields)
			}
			if next, _ := fields["next"].(string); !strings.Contains(next, "change stream") || fields["advice"] == "" || fields["failing_since"] == nil {
				t.Errorf("%s: %v", want.state, fields)
			}
		}
		mend()
		r.waitForCode(k, apikey.Valid)
		line := changeTo(t, logs, "live")
		outage, _ := line.ContextMap()["outage"].(time.Duration)
		down, _ := line.ContextMap()["down_for"].(time.Duration)
		if line.Level != zap.InfoLevel || outage <= 0 || down <= 0 || down > outage {
			t.Errorf("recovery: %v %v", line.Level, line.ContextMap())
		}
	})
}
