package devmongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
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

// lateness is which replies are held back, and for how long. Zero: none.
type lateness struct {
	appName, command string
	by               time.Duration
}

// DelayReplies holds back each reply to a command of this name for some time:
// the command has been executed by then, and the rest of the world goes on. An
// empty appName means everybody, a time of zero ends it.
func (s *Server) DelayReplies(appName, command string, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = lateness{appName, command, by}
}

// lag waits as DelayReplies says.
func (c *conn) lag(ctx context.Context, command string) {
	c.s.mu.Lock()
	late := c.s.late
	if late.command != command || (late.appName != "" && late.appName != c.appName) {
		late.by = 0
	}
	c.s.mu.Unlock()
	if late.by == 0 {
		return
	}
	timer := time.NewTimer(late.by)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// slowness is whose resumes take long, and how long. Zero: nobody's.
type slowness struct {
	appName string
	by      time.Duration
}

// DelayResumes makes each aggregate that resumes a change stream take some time
// before it is executed, as on a server with much log to scan from the token
// on; a new stream is opened at once. An empty appName means everybody. A time
// of zero ends it, also for those who wait.
func (s *Server) DelayResumes(appName string, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = slowness{appName, by}
	s.notify()
}

// crawl waits as DelayResumes says, but no longer than the client or the server
// is there.
func (o *op) crawl() error {
	slow := o.s.slow
	if slow.by == 0 || (slow.appName != "" && slow.appName != o.c.appName) {
		return nil
	}
	ctx, cancel := context.WithTimeout(o.ctx, slow.by)
	defer cancel()
	o.s.crawling++
	_ = o.s.await(ctx, func() bool { return o.s.slow != slow })
	o.s.crawling--
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	return nil
}

// LagReads makes majority reads of documents see what there is now, whatever is
// written later, unless they ask for a later cluster time: so reads a node whose
// commit point lags behind that of the node which a change stream is on. It ends
// with CatchUpReads.
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
