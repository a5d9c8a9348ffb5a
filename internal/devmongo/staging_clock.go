package devmongo

import (
	"time"
)

// SetWallClock makes the node's wall clock differ from Config.Now by offset, from
// now on: $currentDate, $$NOW, wallTime, the TTL indexes, and the seconds of new
// cluster times (which never go back, as on a mongod). With StepDown it makes a
// failover to a primary whose clock is another one.
func (s *Server) SetWallClock(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clockOffset = offset
}

// wallNow is what the node's wall clock says. The caller holds the lock.
func (s *Server) wallNow() time.Time { return s.cfg.Now().Add(s.clockOffset) }
