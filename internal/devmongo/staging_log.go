package devmongo

import (
	"slices"
)

// RollLog removes the log entries that the majority has, except the newest one, as in
// an oplog that is full. A stream that has not read them loses its position.
func (s *Server) RollLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := &s.oplog
	first := slices.IndexFunc(log.entries, func(e *logEntry) bool { return e.at >= log.majority })
	log.entries = slices.Clone(log.entries[max(first, 0):])
	s.notify()
}
