package keystore

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

// maxRemembered bounds the ids of defective documents that have been logged:
// 320 KB. A collection with more of them has one problem, not ten thousand.
const maxRemembered = 10_000

// defects remembers which defective documents the log has seen.
type defects struct {
	// total and shared are nil when nobody wanted the metrics.
	total, shared prometheus.Counter

	mu sync.Mutex
	// logged has the SHA-256 of each id in the log: an _id can be long.
	logged map[[sha256.Size]byte]struct{}
}

func (d *defects) register(registerer prometheus.Registerer) error {
	d.logged = make(map[[sha256.Size]byte]struct{})
	if registerer == nil {
		return nil
	}
	d.total = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_defective_documents_total",
		Help: "Times that a document was read which cannot be read as a key. Each is logged once by its _id.",
	})
	d.shared = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_ambiguous_reads_total",
		Help: "Reads of a hash that more than one document has, so that the key is DISABLED. Documents are logged once by their _id.",
	})
	if err := registerer.Register(d.total); err != nil {
		return fmt.Errorf("registering keytail_defective_documents_total: %w", err)
	}
	if err := registerer.Register(d.shared); err != nil {
		return fmt.Errorf("registering keytail_ambiguous_reads_total: %w", err)
	}
	return nil
}

// Report counts a document with a defect, and logs it the first time that it is
// seen. Whoever decodes a document that a find of this Store did not return
// (from a change event, say) reports it. A document without a defect is none of
// its business. Past 10,000 different ones the log says so, once, and later
// ones are only counted.
func (s *Store) Report(d Document) {
	if d.Record.Defect == "" {
		return
	}
	if s.total != nil {
		s.total.Inc()
	}
	switch first, last := s.remember(d.ID); {
	case last:
		s.tooMany()
	case first:
		s.logger.Warn("A document cannot be read as a key: it is DISABLED",
			zap.String("collection", s.namespace()),
			zap.String("key_id", d.Record.KeyID),
			zap.String("defect", d.Record.Defect))
	}
}

// tooMany is said once, instead of a name.
func (s *Store) tooMany() {
	s.logger.Warn("Too many documents cannot be read as keys: further ones are counted and not logged",
		zap.Int("logged", maxRemembered))
}

// remember reports whether the id is to be logged, or, once, that no more fit.
func (d *defects) remember(id apikey.DocID) (first, last bool) {
	sum := sha256.Sum256([]byte(id))
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.logged[sum]; known || len(d.logged) > maxRemembered {
		return false, false
	}
	d.logged[sum] = struct{}{}
	return true, len(d.logged) > maxRemembered
}
