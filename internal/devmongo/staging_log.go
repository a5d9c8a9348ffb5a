package devmongo

import (
	"slices"
)

// RollLog makes the log forget what the majority has, but for the newest entry:
// so does one that is full. Who has not read so far has lost his place.
func (s *Server) RollLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := &s.oplog
	first := slices.IndexFunc(log.entries, func(e *logEntry) bool { return e.at >= log.majority })
	log.entries = slices.Clone(log.entries[max(first, 0):])
	s.notify()
}
