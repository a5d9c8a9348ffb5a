// Package reload reads files again when they change, so that tokens and certificates
// can be replaced while the daemon runs.
//
// It compares the content every few seconds instead of using file system events.
// Files are replaced in many ways (written in place, renamed over, the symlink of a
// Kubernetes volume switched, a network file system without events). All of them
// change the content, the files are small, and a few seconds are fast enough.
package reload

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/instrument"
)

// Interval is the time between two checks.
const Interval = 2 * time.Second

// Config of a Files.
type Config struct {
	// Read returns the contents. Required.
	Read func() ([][]byte, error)
	// Use starts to use the contents, or returns why it cannot; the previous
	// contents then stay in use. Required. It is never called concurrently.
	Use func(contents [][]byte) error
	// What names the files in log lines. Required.
	What string
	// Setting is the name of the setting with the path, and the label of the metrics:
	// caller-token-file. Required with a Registerer.
	Setting string
	// Logger: nil discards.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none are registered.
	Registerer prometheus.Registerer
	// Ticks trigger a check, for tests. Nil: every Interval.
	Ticks <-chan time.Time
}

// Outcome is the result of one check of the files.
type Outcome string

// The outcomes, as the log has them.
const (
	// Unchanged: the files have the content that is in use.
	Unchanged Outcome = "unchanged"
	// Changed: the files have a new content, which is in use now.
	Changed Outcome = "changed"
	// Refused: the files cannot be read, or their content cannot be used; the
	// previous content stays in use. The log has the reason.
	Refused Outcome = "refused"
)

// Files are followed by Run. Reload may be called at any time, by any goroutine.
type Files struct {
	config Config

	mutex sync.Mutex
	// seen is the digest of the contents of the last check, whether usable or
	// not.
	seen [sha256.Size]byte
	// failing: the last check could not read the files, which has been logged.
	failing bool
	// unusable: the contents of seen cannot be used, which has been logged.
	unusable bool

	metrics metrics
}

// New reads the files for the first time. The error describes what is wrong in
// them.
func New(config Config) (*Files, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	f := &Files{config: config, metrics: newMetrics(config.Setting)}
	contents, err := config.Read()
	if err != nil {
		return nil, err
	}
	f.seen = digest(contents)
	if err := config.Use(contents); err != nil {
		return nil, err
	}
	return f, instrument.Register(config.Registerer, f.metrics.failures, f.metrics.refused)
}

// What names the files: Config.What.
func (f *Files) What() string { return f.config.What }

// Run follows the files until ctx ends, and then returns nil.
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
			f.check()
		}
	}
}

// Reload checks the files now. It also tries again, and logs again, what an
// earlier check has refused: whoever calls it wants to know why.
func (f *Files) Reload() Outcome {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.checkLocked(f.failing || f.unusable)
}

// check uses changed contents, and refused ones as soon as they can be used: what was
// wrong may be another file that they must agree with. It logs each wrong content once.
func (f *Files) check() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.checkLocked(false)
}

// checkLocked: again treats what was refused as new.
func (f *Files) checkLocked(again bool) Outcome {
	contents, err := f.config.Read()
	if err != nil {
		if !f.failing || again {
			f.refuse(" cannot be read, the previous content stays in use", err)
		}
		f.failing = true
		return Refused
	}
	now := digest(contents)
	same := now == f.seen && !f.failing && !again
	if same && !f.unusable {
		return Unchanged
	}
	f.failing = false
	f.seen = now
	err = f.config.Use(contents)
	if same && err != nil {
		return Unchanged // it has been logged
	}
	f.unusable = err != nil
	if f.unusable {
		f.refuse(" changed, and the new content cannot be used: the previous one stays in use", err)
		return Refused
	}
	f.metrics.refused.Set(0)
	f.config.Logger.Info(f.config.What + " changed; the new content is in use")
	return Changed
}

// refuse logs and counts that the files are not used.
func (f *Files) refuse(why string, err error) {
	f.config.Logger.Error(f.config.What+why, zap.Error(err))
	f.metrics.failures.Inc()
	f.metrics.refused.Set(1)
}

// digest identifies contents: the bytes, and where each file ends.
func digest(contents [][]byte) [sha256.Size]byte {
	all := sha256.New()
	for _, content := range contents {
		sum := sha256.Sum256(content)
		all.Write(sum[:])
	}
	return [sha256.Size]byte(all.Sum(nil))
}
