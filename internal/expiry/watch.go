package expiry

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// DefaultNotice is 14 days: long enough to include a holiday, and short enough
	// for the list to be one of things to do.
	DefaultNotice = 14 * 24 * time.Hour

	// maxReports is how many keys one scan reports, those that expire first. It is a
	// quarter of the events' history: a subscriber that reads promptly misses none
	// because of reports. Those that are left are reported by later scans.
	maxReports = 1000
)

// Config of a Watch.
type Config struct {
	// Notice is how long before its expiry a key is counted and reported. Zero:
	// DefaultNotice.
	Notice time.Duration
	// Report is called for each key when a scan first finds it within the notice,
	// in the order of expiry. A key whose expiry changes is reported again.
	// Required.
	Report func(id apikey.DocID, expiresAt time.Time)
	// Logger: nil discards.
	Logger *zap.Logger
	// Registerer registers the gauge. Nil: none.
	Registerer prometheus.Registerer
	// Now is the time. Nil: time.Now.
	Now func() time.Time
}

// Watch sees the documents of scans. Begin, See and End belong to the goroutine that
// scans.
type Watch struct {
	config Config
	gauge  *gauge
	// reported are the keys within the notice that have been reported, with their
	// expiry.
	reported map[apikey.DocID]time.Time
	scan     scan
}

// scan is what one scan has found so far.
type scan struct {
	now   time.Time
	count int
	// kept are those of reported that are still within the notice.
	kept map[apikey.DocID]time.Time
	// found are keys to report: at most twice maxReports, of which the first to
	// expire are kept. more is how many were left out.
	found []key
	more  int
}

// key is one that is about to expire.
type key struct {
	id        apikey.DocID
	expiresAt time.Time
}

// New makes a Watch that has seen nothing.
func New(config Config) (*Watch, error) {
	if config.Report == nil || config.Notice < 0 {
		return nil, errors.New("expiry: Config.Report is required, and Notice must not be negative")
	}
	if config.Notice == 0 {
		config.Notice = DefaultNotice
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	w := &Watch{config: config, gauge: newGauge()}
	if config.Registerer == nil {
		return w, nil
	}
	return w, config.Registerer.Register(w.gauge)
}

// Begin starts a scan. What an earlier scan without an End has found is forgotten.
func (w *Watch) Begin() {
	w.scan = scan{now: w.config.Now(), kept: map[apikey.DocID]time.Time{}}
}

// See takes in one document. Only a key that can be used counts: it is active, its
// document can be read, and it has not expired yet.
func (w *Watch) See(id apikey.DocID, record *apikey.Record) {
	left := record.ExpiresAt.Sub(w.scan.now)
	if record.ExpiresAt.IsZero() || left <= 0 || left > w.config.Notice || !record.Active || record.Defect != "" {
		return
	}
	w.scan.count++
	id = apikey.DocID(strings.Clone(string(id))) // without the texts beside it: see keystore.Store.Scan
	if w.reported[id].Equal(record.ExpiresAt) {
		w.scan.kept[id] = record.ExpiresAt
		return
	}
	w.scan.found = append(w.scan.found, key{id, record.ExpiresAt})
	if len(w.scan.found) == 2*maxReports {
		w.scan.cut()
	}
}

// End ends a scan. After a complete one, which has seen every document, it sets the
// gauge and reports the keys that are new; after another one nothing is known.
func (w *Watch) End(complete bool) {
	s := w.scan
	w.scan = scan{}
	if !complete {
		w.gauge.forget()
		return
	}
	w.gauge.set(s.count)
	s.cut()
	w.reported = s.kept
	for _, k := range s.found {
		w.reported[k.id] = k.expiresAt
		w.config.Report(k.id, k.expiresAt)
	}
	if s.more > 0 {
		w.config.Logger.Info("more keys are about to expire than one scan reports, the next scan continues",
			zap.Int("reported", len(s.found)), zap.Int("more", s.more))
	}
}

// cut keeps the keys that expire first, in that order.
func (s *scan) cut() {
	slices.SortFunc(s.found, func(a, b key) int {
		return cmp.Or(a.expiresAt.Compare(b.expiresAt), cmp.Compare(a.id, b.id))
	})
	if len(s.found) > maxReports {
		s.more += len(s.found) - maxReports
		s.found = s.found[:maxReports]
	}
}
