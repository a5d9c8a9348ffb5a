package keytail

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestTheCoreLogsToSlog(t *testing.T) {
	var text bytes.Buffer
	handler := slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	logger := toZap(slog.New(handler))
	logger.Named("changestream").With(zap.String("instance", "a/1")).Warn("raise --cache-size",
		zap.Duration("after", time.Second), zap.Int("tries", 2), zap.Error(errors.New("see --max-stale")))
	logger.Debug("not shown")
	logger.Error("shown")
	want := `level=WARN msg="raise Config.CacheSizeMiB" instance=a/1 logger=keytail.changestream after=1s tries=2 error="see Config.MaxStale"
level=ERROR msg=shown logger=keytail
`
	if got := text.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestNoLoggerIsSilent(*testing.T) { toZap(nil).Error("not logged") }
