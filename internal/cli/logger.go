package cli

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/config"
)

// Lines with the same message are limited, because clients and outages can cause some of
// them again and again: in each second the first ten are logged, and then every
// hundredth.
const (
	sampleTick       = time.Second
	sampleFirst      = 10
	sampleThereafter = 100
)

// logging is the log of the process.
type logging struct {
	*zap.Logger
	// level can be changed while the process runs.
	level zap.AtomicLevel
	// dropped counts the lines that were left out. unreported are those since that was
	// last logged.
	dropped    prometheus.Counter
	unreported atomic.Int64
}

// newLogger logs to stderr, so that stdout is free for people and scripts.
func newLogger(cfg *config.Config, stderr io.Writer) (*logging, error) {
	level, err := zap.ParseAtomicLevel(cfg.LogLevel)
	if err != nil {
		return nil, err
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if cfg.LogFormat == "console" {
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	l := &logging{level: level, dropped: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_log_lines_dropped_total",
		Help: "Lines that were left out of the log because there were too many with the same message.",
	})}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(stderr)), level)
	sampled := zapcore.NewSamplerWithOptions(core, sampleTick, sampleFirst, sampleThereafter, zapcore.SamplerHook(l.count))
	l.Logger = zap.New(sampledCore{Core: sampled, all: core})
	return l, nil
}

// count counts the lines that are left out.
func (l *logging) count(_ zapcore.Entry, decision zapcore.SamplingDecision) {
	if decision&zapcore.LogDropped != 0 {
		l.dropped.Inc()
		l.unreported.Add(1)
	}
}

// report logs how many lines were left out since the last report.
func (l *logging) report() {
	if n := l.unreported.Swap(0); n > 0 {
		l.Warn("lines were left out of the log because there were too many with the same message", zap.Int64("lines", n))
	}
}

// sampledCore samples lines of every level but debug: whoever turns that on wants to see
// each request.
type sampledCore struct {
	zapcore.Core
	all zapcore.Core
}

func (c sampledCore) With(fields []zapcore.Field) zapcore.Core {
	return sampledCore{c.Core.With(fields), c.all.With(fields)}
}

func (c sampledCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level == zapcore.DebugLevel {
		return c.all.Check(entry, checked)
	}
	return c.Core.Check(entry, checked)
}
