package keystore

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// maxRemembered is how many ids of defective documents are remembered as
	// logged: 320 KB. A collection with more of them has one problem, not ten
	// thousand.
	maxRemembered = 10_000
	// maxUnfindable is the same limit for documents without a hash that a
	// lookup could use. They are not keys, and a collection may contain
	// any number of them on purpose: a few are logged so that a mistake is
	// seen.
	maxUnfindable = 10
)

// defects remembers which defective documents have been logged.
type defects struct {
	// total and shared are nil if there are no metrics.
	total, shared prometheus.Counter

	disabled, unfindable seenIDs
}

// seenIDs is a set of at most max ids that have been logged, and one more, for
// the line about reaching the limit.
type seenIDs struct {
	max int

	mu sync.Mutex
	// logged has the SHA-256 of each logged id, because an _id can be long.
	logged map[[sha256.Size]byte]struct{}
}

func (d *defects) register(registerer prometheus.Registerer) error {
	d.disabled.max, d.unfindable.max = maxRemembered, maxUnfindable
	if registerer == nil {
		return nil
	}
	d.total = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_defective_documents_total",
		Help: "Reads of documents that cannot be decoded as keys. Each document is logged once by its _id, up to a limit.",
	})
	d.shared = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_ambiguous_reads_total",
		Help: "Reads of a hash that more than one document has, so the key is DISABLED. Each document is logged once by its _id.",
	})
	if err := registerer.Register(d.total); err != nil {
		return fmt.Errorf("registering keytail_defective_documents_total: %w", err)
	}
	if err := registerer.Register(d.shared); err != nil {
		return fmt.Errorf("registering keytail_ambiguous_reads_total: %w", err)
	}
	return nil
}

// Report counts a document with a defect, and logs it the first time. A caller
// that decodes a document which no find of this Store returned (from a change
// event, for example) must report it. Report ignores a document without a
// defect. After 10,000 different documents (10, of those that no lookup can
// find) it logs once that the limit was reached, and only counts later ones.
func (s *Store) Report(d Document) {
	if d.Record.Defect == "" {
		return
	}
	if s.total != nil {
		s.total.Inc()
	}
	seen, what := &s.disabled, "a document cannot be read as a key, so it is DISABLED: correct the document, see the field defect"
	if d.Unfindable() {
		seen, what = &s.unfindable, "a document has no hash that a lookup can find, so no key matches it: correct the document or the mapping, see the field defect"
	}
	switch first, last := seen.add(d.ID); {
	case last:
		s.logLimitReached(seen)
	case first:
		s.logger.Warn(what,
			zap.String("collection", s.Namespace()),
			zap.String("key_id", d.Record.KeyID),
			zap.String("defect", d.Record.Defect))
	}
}

// logLimitReached is called once, instead of logging a document.
func (s *Store) logLimitReached(seen *seenIDs) {
	s.logger.Warn("too many documents cannot be read as keys, further ones are counted and not logged: run keytail doctor",
		zap.Int("logged", seen.max), zap.Bool("without_hash", seen == &s.unfindable))
}

// add reports whether the id must be logged (first), or, once, that the limit
// was reached (last).
func (s *seenIDs) add(id apikey.DocID) (first, last bool) {
	sum := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logged == nil {
		s.logged = make(map[[sha256.Size]byte]struct{})
	}
	if _, known := s.logged[sum]; known || len(s.logged) > s.max {
		return false, false
	}
	s.logged[sum] = struct{}{}
	return true, len(s.logged) > s.max
}
