package devmongo

import (
	"context"
	"time"
)

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
