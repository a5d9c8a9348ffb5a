package devmongo

import (
	"sort"

	"github.com/keytail/keytail/internal/clustertime"
)

// history is the documents at each time of the log, for snapshot reads outside
// transactions.
type history struct {
	keeps  bool
	states []pastState
}

// pastState is the documents after all changes up to a time.
type pastState struct {
	at   clustertime.Time
	data *catalog
}

// KeepHistory makes the server keep a copy of the documents at each time of its log,
// from now on and until KeepHistory(false). Reads with read concern snapshot and
// atClusterTime see these copies, also later; a time for which there is none is
// SnapshotUnavailable. Each copy has all documents: it is for small data.
func (s *Server) KeepHistory(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.keeps = keep
	s.keepState()
}

// keepState copies the documents if the history is kept. The caller holds the lock.
func (s *Server) keepState() {
	if h := &s.history; h.keeps {
		h.states = append(h.states, pastState{s.oplog.applied, s.applied.clone()})
	}
}

// stateAt returns the documents at a time, nil if they were not kept.
func (h *history) stateAt(at clustertime.Time) *catalog {
	i := sort.Search(len(h.states), func(i int) bool { return h.states[i].at > at })
	if i == 0 || i == len(h.states) && h.states[i-1].at != at {
		return nil
	}
	return h.states[i-1].data
}
