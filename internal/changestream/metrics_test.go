package changestream

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/devmongo"
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
	for name, want := range map[string]int{"keytail_losses_total": len(all), "keytail_stream_opens_total": 2, "keytail_heartbeats_total": 3} {
		if got, err := testutil.GatherAndCount(registry, name); err != nil || got != want {
			t.Errorf("%s: %d series, want %d (%v)", name, got, want, err)
		}
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
