package devmongo

import (
	"maps"
	"slices"
)

// Snapshot is what a copy of the node's disk holds: the documents, the oplog, and
// what sessions have written with retryable writes and committed transactions.
// It can be restored any number of times.
type Snapshot struct {
	applied  *catalog
	oplog    oplog
	sessions map[string]*session
}

// Snapshot copies the disk. Writes that the majority does not have yet are in the
// copy, too.
func (s *Server) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.oplog
	log.entries = slices.Clone(log.entries)
	return &Snapshot{applied: s.applied.clone(), oplog: log, sessions: durable(s.sessions)}
}

// Restore replaces the disk with the snapshot and starts the node again, as an
// operator does with a disk or Atlas snapshot. Connections, cursors, open
// transactions and failpoints are gone, and the node is elected in a new term. The
// cluster time continues from the snapshot's, or from a later one that a client
// sends ($clusterTime). A command that was sent to the old process is not executed
// by the new one. Whatever was held back (HoldMajority, LagReads, StepDown) no
// longer is; the faults of the network remain.
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
		c.dead = true
	}
	s.elect()
	s.release()
	s.record(&logEntry{kind: kindNoop}) // the first entry of the new term
}

// durable copies what a server keeps of its sessions in a collection of its own:
// not the transactions that are open.
func durable(sessions map[string]*session) map[string]*session {
	out := make(map[string]*session, len(sessions))
	for key, live := range sessions {
		copied := &session{lsid: live.lsid, number: live.number, done: maps.Clone(live.done)}
		switch {
		case live.txn == nil:
		case live.txn.state == txnCommitted:
			committed := *live.txn
			copied.txn = &committed
		default: // aborted, if it is not yet
			copied.txn = &txn{id: live.txn.id, state: txnAborted}
		}
		out[key] = copied
	}
	return out
}

// crashed ends a command whose process is no more.
func (o *op) crashed() error {
	if o.c.dead {
		return errHangUp
	}
	return nil
}
