package devmongo

import (
	"maps"
	"slices"
)

// Snapshot is a copy of the node's disk: the documents, the oplog, and what sessions
// have written with retryable writes and committed transactions. It can be restored
// any number of times.
type Snapshot struct {
	applied  *catalog
	oplog    oplog
	sessions map[string]*session
}

// Snapshot copies the disk, including writes that the majority does not have yet.
func (s *Server) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.oplog
	log.entries = slices.Clone(log.entries)
	return &Snapshot{applied: s.applied.clone(), oplog: log, sessions: durable(s.sessions)}
}

// Restore replaces the disk with the snapshot and restarts the node, as an operator
// does with a disk or Atlas snapshot. Connections, cursors, open transactions and
// failpoints are gone, and the node is elected in a new term. The cluster time continues
// from the snapshot's, or from a later one that a client sends ($clusterTime). The new
// process does not execute commands that were sent to the old one. Restore ends
// HoldMajority, LagReads and StepDown; network faults remain.
func (s *Server) Restore(snapshot *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := snapshot.oplog
	log.entries = slices.Clone(log.entries)
	log.clock = log.applied
	s.applied, s.oplog, s.sessions = snapshot.applied.clone(), log, durable(snapshot.sessions)
	s.behind, s.behindAt, s.fail = nil, 0, failPoint{}
	if s.steppedDown != nil {
		s.steppedDown.Stop()
		s.steppedDown = nil
	}
	for id := range s.cursors {
		s.killCursor(id)
	}
	for c := range s.conns {
		c.replaced = true
	}
	s.elect()
	s.release()
	s.record(&logEntry{kind: kindNoop}) // the first entry of the new term
}

// durable copies what a server stores on disk about its sessions. Open transactions are
// not among it.
func durable(sessions map[string]*session) map[string]*session {
	out := make(map[string]*session, len(sessions))
	for key, live := range sessions {
		copied := &session{lsid: live.lsid, number: live.number, done: maps.Clone(live.done)}
		switch {
		case live.txn == nil:
		case live.txn.state == txnCommitted:
			committed := *live.txn
			copied.txn = &committed
		default: // an open transaction is aborted
			copied.txn = &txn{id: live.txn.id, state: txnAborted}
		}
		out[key] = copied
	}
	return out
}

// checkProcess ends a command of a process that Restore has replaced.
func (o *op) checkProcess() error {
	if o.c.replaced {
		return errHangUp
	}
	return nil
}
