package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Fork returns a copy of the node as it would be cut off from the others without knowing it: reads see
// what the majority had, and no write is acknowledged by a majority any more. The copy does not
// listen, commands come through Execute, and it has neither cursors nor open transactions.
func (s *Server) Fork() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &Server{
		cfg: s.cfg, log: s.log, started: s.started, changed: make(chan struct{}), clockOffset: s.clockOffset,
		applied: s.applied.clone(), majority: s.majority.clone(), oplog: s.oplog, cursors: map[int64]*cursor{},
		sessions: durable(s.sessions), conns: map[*conn]struct{}{}, electionID: bson.NewObjectID(), term: s.term,
	}
	f.oplog.entries, f.oplog.held = slices.Clone(s.oplog.entries), true
	return f
}
