// Package reload reads files again when they change: tokens and certificates are
// replaced while the daemon runs.
//
// It looks at the content every few seconds instead of asking the system for
// events. Files are replaced in many ways (written in place, renamed over, a
// Kubernetes volume's symlink swapped, a network file system that reports
// nothing); their content is what all of them change, the files are small, and a
// few seconds are soon enough.
package reload

import (
	"context"
	"crypto/sha256"
	"time"

	"go.uber.org/zap"
)

// Interval is the time between two looks.
const Interval = 2 * time.Second

// Config of a Files.
type Config struct {
	// Read returns the contents. Its error is a sentence. Required.
	Read func() ([][]byte, error)
	// Use takes contents over, or says in a sentence why it cannot; what it had
	// before then stays. Required. It is not called by two goroutines at once.
	Use func(contents [][]byte) error
	// What is how a log line calls the files. Required.
	What string
	// Logger: nil is silent.
	Logger *zap.Logger
	// Ticks say when to look, for tests. Nil: every Interval.
	Ticks <-chan time.Time
}

// Files are followed by Run.
type Files struct {
	config Config
	// seen is the digest of the contents that were looked at last, right or wrong.
	seen [sha256.Size]byte
	// failing: the last look could not read them, which has been logged.
	failing bool
}

// New reads the files for the first time. The error says what is wrong in them;
// nothing is followed then.
func New(config Config) (*Files, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	f := &Files{config: config}
	contents, err := config.Read()
	if err != nil {
		return nil, err
	}
	f.seen = digest(contents)
	return f, config.Use(contents)
}

// Run follows the files until ctx ends, and returns nil then.
func (f *Files) Run(ctx context.Context) error {
	ticks := f.config.Ticks
	if ticks == nil {
		ticker := time.NewTicker(Interval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
			f.look()
		}
	}
}

// look takes over what has changed. Each wrong content is logged once.
func (f *Files) look() {
	contents, err := f.config.Read()
	if err != nil {
		if !f.failing {
			f.config.Logger.Error(f.config.What+" cannot be read again, what was read before stays in use", zap.Error(err))
		}
		f.failing = true
		return
	}
	now := digest(contents)
	if now == f.seen && !f.failing {
		return
	}
	f.failing = false
	f.seen = now
	if err := f.config.Use(contents); err != nil {
		f.config.Logger.Error(f.config.What+" changed and cannot be used, what was read before stays in use", zap.Error(err))
		return
	}
	f.config.Logger.Info(f.config.What + " changed and is in use")
}

// digest tells contents apart: the bytes and where a file ends.
func digest(contents [][]byte) [sha256.Size]byte {
	all := sha256.New()
	for _, content := range contents {
		sum := sha256.Sum256(content)
		all.Write(sum[:])
	}
	return [sha256.Size]byte(all.Sum(nil))
}
