package devmongo

import (
	"time"
)

// SetWallClock sets the offset of the node's wall clock from Config.Now. It affects
// $currentDate, wallTime, TTL indexes, and the seconds of new cluster times (which
// never go back, as on a mongod). With StepDown it simulates a failover to a primary
// with a different clock.
func (s *Server) SetWallClock(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clockOffset = offset
}

// wallNow is the time of the node's wall clock. The caller holds the lock.
func (s *Server) wallNow() time.Time { return s.cfg.Now().Add(s.clockOffset) }
