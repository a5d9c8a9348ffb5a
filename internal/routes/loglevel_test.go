package routes

import (
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// newLevel is info.
func newLevel() *zap.AtomicLevel {
	level := zap.NewAtomicLevel()
	return &level
}

func TestTheLogLevelIsChanged(t *testing.T) {
	t.Parallel()
	level := newLevel()
	core, logs := observer.New(level)
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.LogLevel, c.Logger = level, zap.New(core) })
	if got := askAdmin(handler, "GET", "/v1/log-level", ""); got.StatusCode != http.StatusOK || got.body != `{"level":"info"}` {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	for _, to := range []string{"error", "debug", "warn", "info"} {
		got := askAdmin(handler, "PUT", "/v1/log-level", `{"level":"`+to+`"}`)
		if got.StatusCode != http.StatusOK || got.body != `{"level":"`+to+`"}` || level.String() != to {
			t.Errorf("%s: %d %s, and it is %s", to, got.StatusCode, got.body, level)
		}
		lines := logs.FilterMessageSnippet("log level").TakeAll()
		if len(lines) != 1 || lines[0].ContextMap()["actor"] != "ann" || lines[0].ContextMap()["to"] != to {
			t.Errorf("%s: the log has %v", to, lines)
		}
		logs.TakeAll()
	}
}

// TestTheLogLevelStaysAfterAMistake.
func TestTheLogLevelStaysAfterAMistake(t *testing.T) {
	t.Parallel()
	level := newLevel()
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.LogLevel = level })
	for body, want := range map[string]string{
		`{"level":"loud"}`:                 "must be debug",
		`{"level":"DEBUG"}`:                "must be debug",
		`{"level":"fatal"}`:                "must be debug",
		`{"level":7}`:                      "level",
		`{}`:                               "must be debug",
		`{"levels":"debug"}`:               "only the field level",
		`{"level":"debug","level":"info"}`: "repeated",
		`"debug"`:                          "object",
	} {
		if got := askAdmin(handler, "PUT", "/v1/log-level", body); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", body, got.StatusCode, got.body)
		}
	}
	if got := askAdmin(handler, "PUT", "/v1/log-level?level=debug", `{"level":"debug"}`); got.StatusCode != http.StatusBadRequest {
		t.Errorf("a query: %d", got.StatusCode)
	}
	basic := adminRequest("PUT", "/v1/log-level", func(r *http.Request) { r.SetBasicAuth("", adminToken1) })
	if got := answerOf(newTestAdmin(t), basic); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a browser can be made to send it: %d", got.StatusCode)
	}
	if level.Level() != zap.InfoLevel {
		t.Errorf("it is %s", level)
	}
	without := newGoldenAdmin(t, func(c *AdminConfig) { c.LogLevel = nil })
	if got := askAdmin(without, "GET", "/v1/log-level", ""); got.StatusCode != http.StatusNotFound {
		t.Errorf("without a level: %d", got.StatusCode)
	}
}
