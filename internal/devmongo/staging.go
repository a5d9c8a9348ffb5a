package devmongo

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

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

// elect begins a new term: transactions of the old one are over, and so are the
// connections.
func (s *Server) elect() {
	s.term++
	s.electionID = bson.NewObjectID()
	for _, session := range s.sessions {
		if session.txn != nil {
			session.txn.abortOn(errNotPrimary())
		}
	}
	for c := range s.conns {
		_ = c.nc.Close()
	}
	s.notify()
}

// StepDown makes the node a secondary for a while, or until StepUp: it closes
// the connections, answers NotWritablePrimary, and is then elected again with a
// new election id. Zero or less: until StepUp.
func (s *Server) StepDown(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stepDown(d)
}

func (s *Server) stepDown(d time.Duration) {
	if s.steppedDown != nil {
		s.steppedDown.Stop()
	}
	if d <= 0 {
		d = 1 << 62
	}
	s.steppedDown = time.AfterFunc(d, s.StepUp)
	s.elect()
}

// StepUp ends a step-down. It does nothing when there is none.
func (s *Server) StepUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steppedDown == nil {
		return
	}
	s.steppedDown.Stop()
	s.steppedDown = nil
	s.elect()
	s.record(&logEntry{kind: kindNoop})
}

func replSetStepDown(o *op) (bson.D, error) {
	seconds, ok := number(o.a.value(o.name))
	o.a.accept("force", "secondaryCatchUpPeriodSecs")
	if !ok || seconds <= 0 {
		return nil, refuse(codeBadValue, "stepdown period must be a positive number of seconds")
	}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if o.s.steppedDown != nil {
		return nil, errNotPrimary()
	}
	o.s.stepDown(time.Duration(seconds) * time.Second)
	return nil, errHangUp
}

// The faults of the network to a client.
const (
	netFine = iota
	netFrozen
	netBlackHole
)

// Freeze holds back every answer to clients of that name until Heal, as a
// stopped process or a full network would; commands that have been sent are
// executed first. An empty name means everybody.
func (s *Server) Freeze(appName string) { s.disturb(netFrozen, appName) }

// BlackHole swallows what clients of that name send and what they would be
// answered, for ever, as a cut cable does. An empty name means everybody.
func (s *Server) BlackHole(appName string) { s.disturb(netBlackHole, appName) }

// Heal ends Freeze and BlackHole. What was swallowed stays lost.
func (s *Server) Heal() { s.disturb(netFine, "") }

func (s *Server) disturb(fault int, appName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.netFault, s.netVictim = fault, appName
	s.notify()
}

// suffers is the fault that a connection has now. The caller holds the lock.
func (s *Server) suffers(c *conn) int {
	if s.netVictim != "" && s.netVictim != c.appName {
		return netFine
	}
	return s.netFault
}
