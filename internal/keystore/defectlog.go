package keystore

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

// A wrong mapping makes all documents of a collection defective, so the number
// of log lines does not depend on their number. A scan logs one line when it
// ends. Reads of single documents log the first ten documents by _id, and then
// at most one line a minute with the number of reads since the last line.
const (
	maxLogged    = 10
	logCountEach = time.Minute
)

// defects counts and logs defective documents.
type defects struct {
	// total and shared are nil if there are no metrics.
	total, shared prometheus.Counter

	// disabled is about documents that are DISABLED, unfindable about documents
	// that no lookup finds, and sharing about documents that share a hash.
	disabled, unfindable, sharing namedOnce
	// now is time.Now, except in tests.
	now func() time.Time
	// lastScan is what the last complete scan found. Nil: there was none.
	lastScan atomic.Pointer[ScanDefects]
}

// ScanDefects is what one complete scan of the collection found.
type ScanDefects struct {
	// At is when it ended, Read how many documents it read.
	At   time.Time
	Read int
	// Disabled documents cannot be read as keys. No key matches Unfindable ones.
	Disabled, Unfindable int
	// Reasons are the defects and how many documents have each, the most frequent first.
	// There are at most maxScanReasons, so their sum can be less than the documents.
	Reasons []SurveyGroup
	// KeyIDs are those of the first maxLogged documents, as in the log.
	KeyIDs []string
}

// LastScan is what the last complete scan found. Nil: there was none. It must not be changed.
func (s *Store) LastScan() *ScanDefects { return s.lastScan.Load() }

// result is what a complete scan found.
func (c *scanDefects) result(now time.Time) *ScanDefects {
	return &ScanDefects{
		At: now, Read: c.read, Disabled: c.disabled, Unfindable: c.unfindable,
		Reasons: sortGroups(c.reasons), KeyIDs: c.ids,
	}
}

// namedOnce decides which reads of defective documents are logged. The zero
// value is ready for use.
type namedOnce struct {
	mu sync.Mutex
	// named has the SHA-256 of the ids that were logged, because an _id can be
	// long.
	named map[[sha256.Size]byte]struct{}
	// uncounted is the number of reads of other documents since counted, the
	// time of the last line about them.
	uncounted int
	counted   time.Time
}

// read reports how to log a read of a document: by its id (first), by the number
// of reads of documents that are not named (more > 0), or not at all.
func (n *namedOnce) read(id apikey.DocID, now time.Time) (first bool, more int) {
	sum := sha256.Sum256([]byte(id))
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.named[sum]; known {
		return false, 0
	}
	if len(n.named) < maxLogged {
		if n.named == nil {
			n.named = make(map[[sha256.Size]byte]struct{})
		}
		n.named[sum] = struct{}{}
		return true, 0
	}
	n.uncounted++
	if !n.counted.IsZero() && now.Sub(n.counted) < logCountEach {
		return false, 0
	}
	more, n.uncounted, n.counted = n.uncounted, 0, now
	return false, more
}

func (d *defects) register(registerer prometheus.Registerer) error {
	d.now = time.Now
	if registerer == nil {
		return nil
	}
	d.total = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_defective_documents_total",
		Help: "Reads of documents that cannot be decoded as keys. The log has the _ids of some, and the reasons.",
	})
	d.shared = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_ambiguous_reads_total",
		Help: "Reads of a hash that more than one document has, so the key is DISABLED. The log has the _ids of some.",
	})
	if err := registerer.Register(d.total); err != nil {
		return fmt.Errorf("registering keytail_defective_documents_total: %w", err)
	}
	if err := registerer.Register(d.shared); err != nil {
		return fmt.Errorf("registering keytail_ambiguous_reads_total: %w", err)
	}
	return nil
}

// count counts a read of a document with a defect.
func (d *defects) count() {
	if d.total != nil {
		d.total.Inc()
	}
}

// Report counts a document with a defect, and logs it as described above. A
// caller that decodes a document which no find of this Store returned (from a
// change event, for example) must report it. Report ignores a document without a
// defect.
func (s *Store) Report(d Document) {
	if d.Record.Defect == "" {
		return
	}
	s.count()
	seen, what := &s.disabled, "a document cannot be read as a key, so it is DISABLED: correct the document, see the field defect"
	if d.Unfindable() {
		seen, what = &s.unfindable, "a document has no hash that a lookup can find, so no key matches it: correct the document or the mapping, see the field defect"
	}
	first, more := seen.read(d.ID, s.now())
	switch {
	case more > 0:
		s.logger.Warn("more documents cannot be read as keys, this is the last one: run keytail doctor",
			append(s.defectFields(&d), zap.Int("reads", more))...)
	case first:
		s.logger.Warn(what, s.defectFields(&d)...)
	}
}

func (s *Store) defectFields(d *Document) []zap.Field {
	return []zap.Field{zap.String("collection", s.Namespace()), zap.String("key_id", d.Record.KeyID), zap.String("defect", d.Record.Defect)}
}

// scanDefects collects the defective documents of one scan.
type scanDefects struct {
	read, disabled, unfindable int
	ids                        []string
	// reasons maps a defect to the documents that have it. There are at most
	// maxScanReasons: a defect may contain the number of an element.
	reasons map[string]*SurveyGroup
}

const maxScanReasons = 100

func (c *scanDefects) see(d *Document) {
	c.read++
	if d.Record.Defect == "" {
		return
	}
	if d.Unfindable() {
		c.unfindable++
	} else {
		c.disabled++
	}
	if len(c.ids) < maxLogged {
		c.ids = append(c.ids, strings.Clone(d.Record.KeyID)) // without the texts beside it
	}
	if c.reasons == nil {
		c.reasons = map[string]*SurveyGroup{}
	}
	if _, known := c.reasons[d.Record.Defect]; known || len(c.reasons) < maxScanReasons {
		addToGroup(c.reasons, d.Record.Defect, "")
	}
}

// logScan writes one line, if there is a defective document.
func (s *Store) logScan(c *scanDefects) {
	if c.disabled+c.unfindable == 0 {
		return
	}
	var reasons []string
	for i, g := range sortGroups(c.reasons) {
		if i == maxReasons {
			break
		}
		reasons = append(reasons, fmt.Sprintf("%s (%d)", g.What, g.Count))
	}
	s.logger.Warn("documents cannot be read as keys, so they are DISABLED, or no key matches them if the hash is the reason: correct the documents or the mapping, and run keytail doctor",
		zap.String("collection", s.Namespace()), zap.Int("read", c.read), zap.Int("disabled", c.disabled), zap.Int("without_hash", c.unfindable),
		zap.Strings("key_ids", c.ids), zap.Strings("defects", reasons))
}

// sharedID identifies documents that share a hash, in any order.
func sharedID(documents []Document) apikey.DocID {
	ids := make([]string, len(documents))
	for i, d := range documents {
		ids[i] = string(d.ID)
	}
	slices.Sort(ids)
	return apikey.DocID(strings.Join(ids, "\x00"))
}
