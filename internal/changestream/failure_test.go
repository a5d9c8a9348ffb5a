package changestream

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestTheTableOfErrorCodesIsComplete(t *testing.T) {
	names := map[string]int{}
	for code, known := range errorCodes {
		if other, ok := names[known.name]; ok || known.name == "" {
			t.Errorf("%d and %d are both called %q", code, other, known.name)
		}
		names[known.name] = code
		if known.advice == "" {
			t.Errorf("%d %s has no advice", code, known.name)
		}
		if !slices.Contains([]class{classTransient, classOperator, classRequest, classLoss}, known.class) {
			t.Errorf("%d %s has the class %q", code, known.name, known.class)
		}
		if known.reason != "" && known.class != classLoss {
			t.Errorf("%d %s has a reason for a loss, but is not a loss", code, known.name)
		}
	}
	// Codes that were once misjudged, and the driver's lists of retryable and resumable ones.
	for _, code := range []int{24, 211, 246, 279, 365, 6, 7, 43, 63, 89, 91, 133, 134, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436} {
		if errorCodes[code].class != classTransient {
			t.Errorf("%d is not transient", code)
		}
	}
}

// TestTheDesignHasTheTable compares the table with the one in DESIGN.md.
func TestTheDesignHasTheTable(t *testing.T) {
	design, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, code := range slices.Sorted(maps.Keys(errorCodes)) {
		known := errorCodes[code]
		means := string(known.class)
		if known.class == classLoss {
			reason := known.reason
			if reason == "" {
				reason = reasonResumeRefused
			}
			means += ", `" + string(reason) + "`"
		}
		fmt.Fprintf(&want, "| %d | %s | %s | %s |\n", code, known.name, means, known.advice)
	}
	if !strings.Contains(string(design), want.String()) {
		t.Errorf("DESIGN.md has another table of error codes; replace its rows by\n%s", want.String())
	}
}

// newLoggedRig makes a rig that does not run, with its log lines.
func newLoggedRig(t *testing.T) (*rig, *observer.ObservedLogs, *time.Time) {
	t.Helper()
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	core, logs := observer.New(zap.InfoLevel)
	now := time.Unix(1_000_000, 0)
	r := newRig(t, &s.Server, true, func(c *Config) { c.Logger, c.Now = zap.New(core), func() time.Time { return now } })
	return r, logs, &now
}

// For every code and phase there is one metric, and one log line with what to do, also when the
// history is already lost.
func TestEveryFailureIsCountedAndLogged(t *testing.T) {
	r, logs, now := newLoggedRig(t)
	codes := append(slices.Collect(maps.Keys(errorCodes)), 99999)
	for _, phase := range []string{phaseOpen, phaseResume, phaseGetMore} {
		for _, code := range codes {
			label := strconv.Itoa(code)
			if code == 99999 {
				label = failedOther
			}
			for range 3 {
				r.handleFailure(phase, fmt.Errorf("wrapped: %w", mongo.CommandError{Code: int32(code), Message: "refused"}))
			}
			if got := r.failures(phase, label); got != 3 {
				t.Errorf("%s, %d: counted %v times", phase, code, got)
			}
			lines := logs.TakeAll()
			if len(lines) != 1 {
				t.Fatalf("%s, %d: %d lines", phase, code, len(lines))
			}
			fields := lines[0].ContextMap()
			if fields["code"] != label || fields["advice"] == "" || fields["code_name"] == "" || !strings.Contains(fmt.Sprint(fields["error"]), "refused") {
				t.Errorf("%s, %d: %v", phase, code, fields)
			}
		}
	}
	r.handleFailure(phaseOpen, mongo.CommandError{Code: 99998})
	if lines := logs.TakeAll(); len(lines) != 1 || lines[0].ContextMap()["code_name"] != "code 99998" {
		t.Errorf("another unknown code: %+v", lines)
	}
	*now = now.Add(failureLogInterval)
	r.handleFailure(phaseOpen, mongo.CommandError{Code: 13})
	if lines := logs.TakeAll(); len(lines) != 1 || lines[0].ContextMap()["not_logged"] != int64(2) || lines[0].Level != zapcore.ErrorLevel {
		t.Errorf("after a while: %+v", lines)
	}
}

func TestFailuresWithoutACodeHaveAWord(t *testing.T) {
	for want, err := range map[string]error{
		failedWatchdog:            errWatchdog,
		failedFreshnessMiss:       lost(reasonNoProgress, errFreshnessMiss),
		failedTokens:              errTokenLayout,
		failedNoMember:            (&placement{preference: readpref.Secondary()}).explain(topology.ServerSelectionError{}),
		failedDriverResumed:       errDriverResumed,
		failedOutageOver:          errOutageOver,
		failedCollection:          fmt.Errorf("wrapped: %w", keystore.ErrCollectionMissing),
		failedNetwork:             mongo.CommandError{Labels: []string{"NetworkError"}},
		failedTimeout:             mongo.CommandError{Labels: []string{"NetworkTimeoutError"}},
		failedOther:               errors.New("x"),
		string(reasonCatchUp):     lost(reasonCatchUp, errCatchUpTooSlow),
		string(reasonCursorEnded): lost(reasonCursorEnded, nil),
		"286":                     lost(reasonHistoryLost, mongo.CommandError{Code: 286}),
	} {
		if f, ok := describe(err); f.code != want || !ok || f.advice == "" {
			t.Errorf("%v: got %+v, %v, want %s", err, f, ok, want)
		}
	}
	if f, ok := describe(lost(reasonDrop, nil)); ok {
		t.Errorf("an event is a failed request: %+v", f)
	}
}

// A load balancer sends each getMore to another server than its aggregate. The driver
// resumes immediately after each, and does not report it.
func TestResumesByTheDriverAreCountedAndPaced(t *testing.T) {
	inBothScopes(t, func(t *testing.T, r *rig, _ *devmongo.Server, logs *observer.ObservedLogs) {
		r.runOpen()
		r.waitForFreshness(1)
		startedAt := time.Now()
		mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"getMore"}}, bson.E{Key: "errorCode", Value: 43})
		r.waitForFreshness(3) // the aggregates deliver heartbeats
		mongotest.Eventually(t, patience, func() bool { return r.failures(phaseGetMore, failedDriverResumed) >= 8 }, "it is not counted")
		mend()
		r.insert("after")
		mongotest.Eventually(t, patience, r.applied(1), "the change is not delivered")
		r.stop()
		// Four after each pause of at least 50 ms.
		if n := r.failures(phaseGetMore, failedDriverResumed); n > 8+4*float64(time.Since(startedAt)/(50*time.Millisecond)) {
			t.Errorf("%v failures in %v: there is no pause", n, time.Since(startedAt))
		}
		if n := logs.FilterMessageSnippet("keytail resumes it").Len(); n != 1 || r.losses != 0 {
			t.Errorf("%d lines, %d losses", n, r.losses)
		}
	})
}

func TestALossIsOneLineNotTwo(t *testing.T) {
	r, logs, _ := newLoggedRig(t)
	r.isOpen = true
	r.handleFailure(phaseResume, mongo.CommandError{Code: 286})
	lines := logs.All()
	if len(lines) != 1 || lines[0].ContextMap()["reason"] != "history_lost" || lines[0].ContextMap()["advice"] != adviceOplog {
		t.Errorf("%+v", lines)
	}
	if r.failures(phaseResume, "286") != 1 || testutil.ToFloat64(r.Tail.metrics.losses.WithLabelValues("history_lost")) != 1 {
		t.Error("it is not counted as both")
	}
}

// A privilege is revoked while keytail runs and granted again: the token is kept,
// however long that takes.
func TestATemporaryRefusalIsNoLoss(t *testing.T) {
	inBothScopes(t, func(t *testing.T, r *rig, _ *devmongo.Server, logs *observer.ObservedLogs) {
		r.runOpen()
		r.waitForFreshness(1)
		mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}}, bson.E{Key: "errorCode", Value: 13})
		r.waitUntilVeryOld()
		mongotest.Eventually(t, patience, func() bool { return r.failures(phaseResume, "13") >= 2 }, "it is not retried")
		r.insert("meanwhile")
		mend()
		mongotest.Eventually(t, patience, r.applied(1), "the change is not delivered")
		r.stop()
		if r.losses != 0 {
			t.Errorf("lost: %+v", r.Status().LastLoss)
		}
		refused := logs.FilterMessageSnippet("cannot be resumed").FilterField(zap.String("code", "13"))
		if n := refused.Len(); n != 1 { // a slow machine can add other failures
			t.Errorf("%d lines", n)
		}
	})
}

func TestTheReadConcernOfTheURIDoesNotMatter(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true, func(c *Config) {
			opts := s.Options("").SetReadConcern(readconcern.Local())
			c.Database = s.Connect(t, opts).Database(c.Database.Name())
			c.Heartbeater = newHeartbeater(t, c.Database)
		})
		if err := r.CheckAccess(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.runOpen()
	})
}

func TestCheckAccessReportsWhatAnOperatorMustRepair(t *testing.T) {
	r, logs, _ := newLoggedRig(t)
	for code, known := range errorCodes {
		mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"aggregate"}}, bson.E{Key: "errorCode", Value: code})
		err := r.CheckAccess(t.Context())
		mend()
		lines := logs.TakeAll()
		if known.class == classOperator || known.class == classRequest {
			if err == nil || (!errors.Is(err, keystore.ErrUnauthorized) && !strings.Contains(err.Error(), known.advice)) || len(lines) != 0 {
				t.Errorf("%d %s: %v, %d lines", code, known.name, err, len(lines))
			}
			continue
		}
		if err != nil || len(lines) != 1 || lines[0].ContextMap()["code"] != strconv.Itoa(code) || r.failures(phaseOpen, strconv.Itoa(code)) != 1 {
			t.Errorf("%d %s: %v, %+v", code, known.name, err, lines)
		}
	}
	r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"aggregate"}}, bson.E{Key: "errorCode", Value: 99999})
	if err := r.CheckAccess(t.Context()); err != nil || logs.Len() != 1 || r.failures(phaseOpen, failedOther) != 1 {
		t.Errorf("an unknown code: %v, %+v", err, logs.All())
	}
}
