package devmongo

import (
	"github.com/keytail/keytail/internal/clustertime"
)

// LagReads makes majority reads of documents see what there is now, whatever is
// written later, unless they ask for a later cluster time: so reads a node whose
// commit point lags behind that of the node which a change stream is on. It ends
// with CatchUpReads.
func (s *Server) LagReads() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind, s.behindAt = s.majority.clone(), s.oplog.majority
}

// CatchUpReads ends LagReads.
func (s *Server) CatchUpReads() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind, s.behindAt = nil, clustertime.Time(0)
}
