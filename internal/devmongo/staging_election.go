package devmongo

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// elect begins a new term: open transactions and connections end.
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

// StepDown makes the node a secondary for some time: it closes the connections and
// answers NotWritablePrimary, and is then elected again with a new election ID. Zero or
// less: until StepUp.
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

// StepUp ends StepDown. It does nothing on a primary.
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
