package devmongo

// HoldMajority makes the majority stand still while writes go on: what is
// written from now on is seen by local reads only, and writes that want a
// majority wait.
func (s *Server) HoldMajority() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.oplog.held {
		s.oplog.held, s.majority = true, s.applied.clone()
	}
}

// ReleaseMajority lets the majority catch up with all that has been written.
func (s *Server) ReleaseMajority() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
}

func (s *Server) release() {
	s.oplog.held, s.oplog.majority, s.majority = false, s.oplog.applied, s.applied
	s.notify()
}

// Rollback is what happens to writes of a primary that the majority never got: a
// new primary is elected without them. Everything since HoldMajority is undone,
// open transactions and results end, and all connections are closed.
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
