package keytail

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// loggerKey is the attribute for the name of the part that logs.
	loggerKey = "logger"
	// loggerName begins each such name: the rest of the program logs, too.
	loggerName = "keytail"
)

// toZap is a logger for the core, which logs with zap, that writes to the handler of
// an slog.Logger. No library has this direction: zapslog writes from slog to zap.
func toZap(logger *slog.Logger) *zap.Logger {
	if logger == nil {
		return zap.NewNop()
	}
	return zap.New(slogCore{logger.Handler()}).Named(loggerName)
}

// slogCore passes entries on to a handler.
type slogCore struct{ handler slog.Handler }

var _ zapcore.Core = slogCore{}

func (c slogCore) Enabled(level zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), slogLevel(level))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.handler.WithAttrs(toAttrs(fields))}
}

func (c slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	record := slog.NewRecord(entry.Time, slogLevel(entry.Level), inFieldNames(entry.Message), 0)
	if entry.LoggerName != "" {
		record.AddAttrs(slog.String(loggerKey, entry.LoggerName))
	}
	record.AddAttrs(toAttrs(fields)...)
	return c.handler.Handle(context.Background(), record)
}

// Sync has nothing to do: handlers do not buffer.
func (slogCore) Sync() error { return nil }

func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level < zapcore.InfoLevel:
		return slog.LevelDebug
	case level < zapcore.WarnLevel:
		return slog.LevelInfo
	case level < zapcore.ErrorLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// toAttrs keeps the order of the fields. Texts in them may name flags, too: those of
// errors do.
func toAttrs(fields []zapcore.Field) []slog.Attr {
	attrs := make([]slog.Attr, 0, len(fields))
	for _, field := range fields {
		values := zapcore.NewMapObjectEncoder()
		field.AddTo(values)
		for key, value := range values.Fields {
			if text, ok := value.(string); ok {
				value = inFieldNames(text)
			}
			attrs = append(attrs, slog.Any(key, value))
		}
	}
	return attrs
}
