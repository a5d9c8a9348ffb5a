package changestream

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestSeriesExistFromTheStart: an alert on an increase must see the first loss, too.
func TestSeriesExistFromTheStart(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("loss.go")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`\sReason += "`).FindAll(source, -1)
	registry := prometheus.NewRegistry()
	if _, err := newMetrics(registry, &catchUp{}); err != nil {
		t.Fatal(err)
	}
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	_, err = NewHeartbeater(HeartbeaterConfig{Database: node.Connect(t, node.Options("")).Database("keys"), Collection: "api_keys", Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"keytail_losses_total": len(all), "keytail_stream_opens_total": 2, "keytail_heartbeats_total": 3,
		"keytail_stream_events_total": 6, "keytail_event_lag_seconds": 2, "keytail_heartbeat_round_trip_seconds": 1,
		// Each of three phases can end with each code and each word.
		"keytail_stream_failures_total": 3 * (len(errorCodes) + len(failureAdvice)),
	} {
		if got, err := testutil.GatherAndCount(registry, name); err != nil || got != want {
			t.Errorf("%s: %d series, want %d (%v)", name, got, want, err)
		}
	}
}

// TestAFailureHasALabelOfTheList: another one would begin a series.
func TestAFailureHasALabelOfTheList(t *testing.T) {
	t.Parallel()
	failures := []error{
		errWatchdog, errFreshnessMiss, errDriverResumed, errOutageOver, errTokenLayout, errNoMember, errors.New("another"),
		keystore.ErrCollectionMissing, keystore.ErrIsView, keystore.ErrIsTimeseries, mongo.ErrMissingResumeToken,
		context.DeadlineExceeded,
		topology.ServerSelectionError{},
		mongo.CommandError{Labels: []string{"NetworkError"}},
		mongo.CommandError{Code: 1},
		mongo.CommandError{Code: 123456},
	}
	for _, reason := range reasons {
		failures = append(failures, lost(reason, nil))
	}
	m, err := newMetrics(nil, &catchUp{})
	if err != nil {
		t.Fatal(err)
	}
	before := testutil.CollectAndCount(m.failures)
	for _, failure := range failures {
		if f, request := describe(failure); request {
			m.failures.WithLabelValues(phaseOpen, f.code)
			if now := testutil.CollectAndCount(m.failures); now != before {
				t.Fatalf("%v has the label %q, which has no series at the start", failure, f.code)
			}
		}
	}
}

func TestLagIsThatOfChangesAndOfHeartbeats(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(nil, &catchUp{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tail := &Tail{config: Config{Now: func() time.Time { return now }}, metrics: m}
	tail.status.Store(&Status{})
	wall := now.Add(-time.Second)
	tail.recordEvent(&event{kind: kindReplace, wall: wall}, &effect{change: &keycache.Change{}})
	tail.recordEvent(&event{kind: kindUpdate, wall: wall}, &effect{nonce: 7})
	tail.recordEvent(&event{kind: kindUpdate, wall: wall}, &effect{}) // ignorable
	tail.recordEvent(&event{kind: kindInsert}, &effect{change: &keycache.Change{}})
	tail.recordEvent(&event{kind: "of a later server", wall: wall}, &effect{})
	for kind, want := range map[string]uint64{lagOfChange: 1, lagOfHeartbeat: 1} {
		var got dto.Metric
		if err := m.lag.WithLabelValues(kind).(prometheus.Histogram).Write(&got); err != nil || got.GetHistogram().GetSampleCount() != want || got.GetHistogram().GetSampleSum() != 1 {
			t.Errorf("%s: %v (%v), want %d of a second", kind, got.GetHistogram(), err, want)
		}
	}
	for of, want := range map[string]float64{kindReplace: 1, kindUpdate: 1, kindInsert: 1, typeHeartbeat: 1, typeOther: 1} {
		if got := testutil.ToFloat64(m.events.WithLabelValues(of)); got != want {
			t.Errorf("%v events of type %s, want %v", got, of, want)
		}
	}
	if n := testutil.CollectAndCount(m.events); n != len(eventTypes) {
		t.Errorf("%d types, want %d", n, len(eventTypes))
	}
}

// TestEveryLossLogsAdvice includes losses without a failed request.
func TestEveryLossLogsAdvice(t *testing.T) {
	t.Parallel()
	// These come with the server's code and the advice for it.
	coded := []Reason{reasonHistoryLost, reasonPositionLost, reasonTokenRefused, reasonEventTooLarge, reasonResumeRefused}
	for _, reason := range reasons {
		if f, _ := describe(lost(reason, nil)); f.advice == "" && !slices.Contains(coded, reason) {
			t.Errorf("%s: the log does not contain what to do", reason)
		}
	}
	for code, known := range errorCodes {
		if known.advice == "" {
			t.Errorf("code %d: the log does not contain what to do", code)
		}
	}
}
