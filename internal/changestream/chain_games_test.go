package changestream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
)

// TestChain plays many histories of a server that loses requests and replies, delays
// requests, ends cursors and is restored, half of them in collection scope. It compares
// what the chain and the positions report with what has happened.
func TestChain(t *testing.T) {
	all := play(20_000)
	if len(all.wrong) > 0 {
		t.Errorf("%d times wrong, first: %s", len(all.wrong), all.wrong[0])
	}
	t.Logf("%d restores that undid something known, %d losses, %d heartbeats accepted", all.restored, all.losses, all.honoured)
	if all.restored == 0 || all.losses == 0 || all.honoured == 0 {
		t.Error("the games are too few to show anything")
	}
}

// played is the outcome of games.
type played struct {
	restored, losses, honoured int
	wrong                      []string
}

func play(games uint64) *played {
	all := &played{}
	for seed := range games {
		g := &game{Rand: rand.New(rand.NewPCG(seed, 0)), seed: seed, played: all, collection: seed%2 == 1}
		g.open()
		for range 60 {
			g.step()
		}
	}
	return all
}

func (g *game) addViolation(what string) {
	g.wrong = append(g.wrong, fmt.Sprintf("seed %d: %s", g.seed, what))
}

// written is a heartbeat in the log of the game's server, with its cluster time and the
// server process that wrote it.
type written struct {
	nonce, anchor, seq int64
	at                 clustertime.Time
	process            int
}

type game struct {
	*rand.Rand
	*played
	seed uint64
	m    heartbeatTracker

	// log is the server's; its last entry is what the document holds. It begins
	// with another client's heartbeat.
	log       []written
	snapshots [][]written
	// late are the heartbeats that are delayed on their way to the server. reply is that to the
	// last heartbeat, while it is on its way: the next one is sent after it.
	late  []heartbeatWrite
	reply func()
	// unread are the indexes of the entries that the stream has not delivered.
	unread      int
	firstCursor bool
	// known is the part of the log that is known to exist in this history: up to its
	// beginning, or to the newest heartbeat that was acknowledged or has arrived.
	known []written
	// process counts the restores.
	process int
	// undone: something that is known has been undone, and no loss was declared yet.
	// interrupted: the cursor has ended since the history began. verified: a
	// heartbeat has arrived in it.
	undone, interrupted, verified bool

	// collection is the scope. clock is the server's time, which never goes back: clients
	// send it. closed: the cursor has ended, and the next one has not been opened.
	collection, closed bool
	clock              clustertime.Time
	// read is the log when the stream's last position was reached, in this process.
	read        []written
	readProcess int
}

func (g *game) open() {
	g.m.forget()
	g.unread, g.known = len(g.log), slices.Clone(g.log)
	g.firstCursor, g.undone, g.interrupted, g.verified = true, false, false, false
	g.closed, g.reply = false, nil
	g.m.cursorOpened()
}

func (g *game) step() {
	switch p := g.IntN(100); {
	case p < 50:
		g.sendHeartbeat()
	case p < 82:
		g.deliver()
	case p < 85 && len(g.late) > 0: // in any order, and no caller waits for the reply
		i := g.IntN(len(g.late))
		g.write(g.late[i])
		g.late = slices.Delete(g.late, i, i+1)
	case p < 92: // the cursor ends, and the stream is resumed
		g.endCursor()
	case p < 96:
		g.snapshots = append(g.snapshots, slices.Clone(g.log))
	case len(g.snapshots) > 0:
		g.restore(g.snapshots[g.IntN(len(g.snapshots))])
	}
}

func (g *game) sendHeartbeat() {
	g.receiveReply()
	b := g.m.send(time.Now())
	if p := g.IntN(8); p < 2 { // it does not reach the server, or not yet
		if p == 0 && b.after != nil {
			g.late = append(g.late, b)
		}
		return
	}
	accepted := g.write(b)
	log, undone := slices.Clone(g.log), g.undone
	g.reply = func() { g.replied(b, accepted, undone, log) }
	switch g.IntN(8) {
	case 0, 1: // it is lost
		g.reply = nil
	case 2: // it is late
	default:
		g.receiveReply()
	}
}

func (g *game) receiveReply() {
	if reply := g.reply; reply != nil {
		g.reply = nil
		reply()
	}
}

// replied is called with the reply to a heartbeat, and what was undone, and the log, when the server
// had it.
func (g *game) replied(b heartbeatWrite, accepted, undone bool, log []written) {
	if accepted {
		g.m.acknowledge(b.nonce, log[len(log)-1].at, time.Now())
		g.known = log
		g.undone = g.undone || !slices.Equal(g.log[:min(len(log), len(g.log))], log)
		return
	}
	if g.m.noteRefused(b.nonce) {
		if !undone {
			g.addViolation("a loss although nothing was undone")
		}
		g.losses++
		g.open()
	}
}

// write is what the server does with a heartbeat.
func (g *game) write(b heartbeatWrite) (accepted bool) {
	accepted = b.after == nil
	if n := len(g.log); n > 0 && !accepted {
		last := g.log[n-1]
		accepted = last.seq < b.seq && (slices.Contains(b.after, last.nonce) || last.anchor == b.anchor)
	}
	if accepted {
		g.clock++
		g.log = append(g.log, written{b.nonce, b.anchor, b.seq, g.clock, g.process})
	}
	return accepted
}

func (g *game) endCursor() { g.firstCursor, g.interrupted, g.closed = false, true, true }

func (g *game) deliver() {
	switch {
	case g.collection && g.closed:
		g.closed = false
		g.cover(g.m.cursorOpened())
	case g.collection: // the stream has read all of the log, and others have written, too
		g.clock++
		g.unread, g.read, g.readProcess = len(g.log), slices.Clone(g.log), g.process
		g.cover(g.m.newestCoveredBy(g.clock))
	case g.unread < len(g.log):
		g.unread++
		g.receive(g.log[g.unread-1].nonce, g.log)
	}
}

// cover is called with the heartbeat that the stream's last position is said to prove.
func (g *game) cover(nonce int64) {
	if nonce != 0 {
		g.receive(nonce, g.read)
	}
}

// receive is called when a heartbeat arrives, or counts as received because the stream has
// read this log.
func (g *game) receive(nonce int64, read []written) {
	_, ok, err := g.m.receive(nonce, g.firstCursor)
	switch {
	case err != nil:
		if !g.interrupted || g.verified {
			g.addViolation("a loss although the history was verified, or its cursor is the first")
		}
		g.losses++
		g.open()
	case ok:
		i := slices.IndexFunc(read, func(w written) bool { return w.nonce == nonce })
		if i < 0 {
			g.addViolation("a position proves a heartbeat that is not in its history")
		}
		// A heartbeat that was written before the restore still proves the same.
		if i >= 0 && g.undone && read[i].process == g.process {
			g.addViolation("a heartbeat is honoured after a restore")
		}
		g.honoured++
		g.verified = true
		// The stream may have passed another one, of which nobody knows in collection scope.
		if i+1 > len(g.known) && (!g.collection || g.readProcess == g.process) {
			g.known = slices.Clone(g.log[:i+1])
		}
	}
}

// restore sets the log back. The stream is resumed where it was.
func (g *game) restore(snapshot []written) {
	keepsKnown := len(snapshot) >= len(g.known) && slices.Equal(snapshot[:len(g.known)], g.known)
	if g.collection && g.undone && keepsKnown {
		return // back and forth, which nothing shows (DESIGN.md, "Limits")
	}
	// Until a heartbeat has arrived, anything may have been read from the undone part.
	if g.undone = !keepsKnown || !g.verified; g.undone {
		g.restored++
	}
	g.process++
	g.log, g.late = slices.Clone(snapshot), nil // its connections are closed
	g.unread = min(g.unread, len(g.log))
	g.endCursor()
}
