package devmongo

import (
	"context"
	"time"
)

// The network faults of a client.
const (
	netHealthy = iota
	netFrozen
	netBlackHole
)

// Freeze delays every reply to clients with that application name until Heal, like a
// stopped process or a full network. Commands that have arrived are executed. An empty
// name means all clients.
func (s *Server) Freeze(appName string) { s.disturb(netFrozen, appName) }

// BlackHole drops what clients with that application name send, and the replies to
// them, like a cut cable. An empty name means all clients.
func (s *Server) BlackHole(appName string) { s.disturb(netBlackHole, appName) }

// Heal ends Freeze and BlackHole. What was dropped stays lost.
func (s *Server) Heal() { s.disturb(netHealthy, "") }

func (s *Server) disturb(fault int, appName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.netFault, s.netVictim = fault, appName
	s.notify()
}

// networkFault returns the current fault of a connection. The caller holds the lock.
func (s *Server) networkFault(c *conn) int {
	if s.netVictim != "" && s.netVictim != c.appName {
		return netHealthy
	}
	return s.netFault
}

// replyDelay is which replies are delayed, and for how long. Zero: none.
type replyDelay struct {
	appName, command string
	by               time.Duration
}

// DelayReplies delays each reply to a command of this name. The command is executed
// before the delay, and other commands are not delayed. An empty appName means all
// clients. A duration of zero ends the delay.
func (s *Server) DelayReplies(appName, command string, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delayed = replyDelay{appName, command, by}
}

// delayReply waits as DelayReplies specifies.
func (c *conn) delayReply(ctx context.Context, command string) {
	c.s.mu.Lock()
	delay := c.s.delayed
	if delay.command != command || (delay.appName != "" && delay.appName != c.appName) {
		delay.by = 0
	}
	c.s.mu.Unlock()
	if delay.by == 0 {
		return
	}
	timer := time.NewTimer(delay.by)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
