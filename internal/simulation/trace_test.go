package simulation

import (
	"fmt"
	"sort"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/apikey"
)

// observer pauses a scan before each document, and traces it.
type observer struct{ world *world }

func (o observer) Begin() { o.world.trace("loader: begins a scan") }

func (o observer) See(_ apikey.DocID, record *apikey.Record) {
	o.world.pause("the loader")
	o.world.trace("loader: sees %s", describe(record))
}

func (o observer) End(complete bool) {
	o.world.count(func(c *counts) { c.scans++ })
	o.world.trace("loader: ends the scan, complete=%v", complete)
}

// traceCore is a zap core that writes into the trace.
type traceCore struct {
	zapcore.LevelEnabler
	world *world
}

// newTraceLogger writes the core's log into the trace, if one is kept.
func newTraceLogger(w *world) *zap.Logger {
	if !w.tracing {
		return zap.NewNop()
	}
	return zap.New(traceCore{zapcore.DebugLevel, w})
}

func (c traceCore) With([]zapcore.Field) zapcore.Core { return c }
func (c traceCore) Sync() error                       { return nil }

func (c traceCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(entry, c)
}

// Write traces a line of the log. What differs in each run is left out: ids of cursors, tokens, nonces.
func (c traceCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		switch f.Key {
		case "instance", "took":
		case "error":
			encoder.Fields["error"] = "…"
			if err, ok := f.Interface.(error); ok {
				encoder.Fields["error"] = firstLine(err.Error())
			}
		default:
			f.AddTo(encoder)
		}
	}
	var parts []string
	for name, value := range encoder.Fields {
		parts = append(parts, fmt.Sprintf("%s=%v", name, value))
	}
	sort.Strings(parts)
	c.world.trace("log: %s: %s %s", entry.LoggerName, entry.Message, strings.Join(parts, " "))
	return nil
}

// firstLine is the beginning of an error's text, which contains no token.
func firstLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text, _, _ = strings.Cut(text, "{")
	return text
}
