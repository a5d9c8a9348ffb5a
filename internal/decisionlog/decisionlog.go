package decisionlog

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// Stdout is the Path of standard output.
const Stdout = "-"

// defaultQueueSize is some tenths of a second of a busy instance, and 2 MiB.
const defaultQueueSize = 8192

// Config of a Log.
type Config struct {
	// Path is the file to append to, which is created if it does not exist, or Stdout.
	// Required.
	Path string
	// Stdout is standard output. Required for the Path of that name.
	Stdout io.Writer
	// AcceptRatio is the share of VALID answers that are recorded, from 0 (none) to 1
	// (all). Refusals are always recorded.
	AcceptRatio float64
	// Mask are names of fields whose values are replaced by "[masked]": see Maskable.
	// Nil: none.
	Mask []string
	// Instance is the id of this instance in the fleet.
	Instance string
	// QueueSize is how many decisions may wait to be written. Zero: 8192.
	QueueSize int
	// Now is the clock of lines. Nil: time.Now.
	Now func() time.Time
	// Logger reports decisions that are not written. Nil: it is silent.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

// Check reports what is wrong with a ratio and a mask, one error for each mistake.
func Check(acceptRatio float64, mask []string) error {
	var mistakes []error
	if !(acceptRatio >= 0 && acceptRatio <= 1) { // also false for NaN
		mistakes = append(mistakes, fmt.Errorf("--decision-log-accepts must be from 0 (none) to 1 (all), not %v", acceptRatio))
	}
	for _, name := range mask {
		if !slices.Contains(Maskable, name) {
			mistakes = append(mistakes, fmt.Errorf("--decision-log-mask can have only %s", strings.Join(Maskable, ", ")))
			break
		}
	}
	return errors.Join(mistakes...)
}

// Log writes decisions. It implements forwardauth.DecisionLog.
type Log struct {
	config  Config
	mask    mask
	queue   chan entry
	reopen  chan struct{}
	metrics *metrics
	logger  *zap.Logger
	// unreported counts the decisions that were dropped since that was last logged.
	unreported atomic.Int64
	// acceptRoom is how many waiting decisions leave room for an accept.
	acceptRoom int

	// The rest belongs to the goroutine of Run. file is nil for standard output. torn: what
	// was written last may be a part of a line.
	out  io.Writer
	file *os.File
	torn bool
}

// entry is one decision and its time.
type entry struct {
	at       time.Time
	decision forwardauth.Decision
}

var _ forwardauth.DecisionLog = (*Log)(nil)

// New opens the file. Nothing is written until Run is called.
func New(config Config) (*Log, error) {
	if config.QueueSize == 0 {
		config.QueueSize = defaultQueueSize
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if err := Check(config.AcceptRatio, config.Mask); err != nil {
		return nil, err
	}
	l := &Log{
		config: config, mask: maskOf(config.Mask), logger: config.Logger.Named("decisionlog"),
		queue: make(chan entry, config.QueueSize), reopen: make(chan struct{}, 1),
		acceptRoom: config.QueueSize / 2,
	}
	var err error
	if l.metrics, err = newMetrics(config.Registerer, func() float64 { return float64(len(l.queue)) }); err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	return l, l.open()
}

// Wants implements forwardauth.DecisionLog: it wants each refusal, and accepts at random.
func (l *Log) Wants(code apikey.Code) bool {
	return code != apikey.Valid || l.config.AcceptRatio >= 1 || rand.Float64() < l.config.AcceptRatio
}

// Record implements forwardauth.DecisionLog. It never waits: a decision that does not
// fit into the queue is dropped and counted.
func (l *Log) Record(d forwardauth.Decision) {
	if d.Verdict.Code == apikey.Valid && len(l.queue) >= l.acceptRoom {
		l.drop(droppedFull, 1)
		return
	}
	select {
	case l.queue <- entry{l.config.Now(), d}:
	default:
		l.drop(droppedFull, 1)
	}
}

// Reopen makes Run close the file and open its path again, after a program that rotates
// logs has renamed it. The log has the result. If the path cannot be opened, the file
// that is open stays in use. It returns false for standard output, which stays as it is.
func (l *Log) Reopen() bool {
	if l.config.Path == Stdout {
		return false
	}
	select {
	case l.reopen <- struct{}{}:
	default: // it was requested before
	}
	return true
}

func (l *Log) drop(reason dropReason, n int) {
	l.metrics.dropped[reason].Add(float64(n))
	l.unreported.Add(int64(n))
}
