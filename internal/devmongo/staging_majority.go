package devmongo

// HoldMajority stops replication to the majority. Only local reads see later writes,
// and writes with w: majority wait.
func (s *Server) HoldMajority() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.oplog.held {
		s.oplog.held, s.majority = true, s.applied.clone()
	}
}

// ReleaseMajority lets the majority catch up with all writes.
func (s *Server) ReleaseMajority() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
}

func (s *Server) release() {
	s.oplog.held, s.oplog.majority, s.majority = false, s.oplog.applied, s.applied
	s.notify()
}

// Rollback elects a new primary without the writes that the majority does not have.
// All writes since HoldMajority are undone, open transactions and cursors end, and all
// connections are closed.
func (s *Server) Rollback() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oplog.rollback()
	if s.oplog.held {
		s.applied = s.majority
	}
	s.elect()
	for _, session := range s.sessions {
		session.forget(s.oplog.majority)
	}
	for id, c := range s.cursors {
		if c.stream == nil {
			s.killCursor(id)
		}
	}
	s.release()
	s.record(&logEntry{kind: kindNoop}) // the first entry of the new term
}
