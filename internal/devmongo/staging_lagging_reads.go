package devmongo

import (
	"github.com/keytail/keytail/internal/clustertime"
)

// LagReads makes majority reads of documents return the current data whatever is
// written later, unless they require a later cluster time. So reads a node
// whose commit point is behind that of the node that serves a change stream.
// CatchUpReads ends it.
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
