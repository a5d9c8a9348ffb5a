package simulation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
)

// class is what a command is for. Faults hit classes.
type class string

const (
	classStream    class = "stream"    // opens or reads a change stream
	classHeartbeat class = "heartbeat" // writes a heartbeat
	classRead      class = "read"      // finds keys
	classScan      class = "scan"      // reads the collection
	classWrite     class = "write"     // any command of another program
	classOther     class = "other"
)

var faultyClasses = []class{classStream, classHeartbeat, classRead, classScan}

// program is keytail's name in the network; others write keys.
const (
	program = "keytail"
	writers = "writers"
)

// network carries commands to nodes and back. Each one takes a time of its own in both directions.
type network struct {
	world *world
	set   *replicaSet

	mutex sync.Mutex
	// stalled is until when nothing of a class arrives; failing is how likely a command of a class fails;
	// deposedShare is how likely a command goes to the node that was cut off, while there is one.
	stalled      map[class]time.Time
	failing      map[class]float64
	deposedShare float64
	// slow is how likely a command is slow, oddEvents how likely an event is one that keytail does not know.
	slow, oddEvents float64
	// heartbeat is when the last heartbeat was executed of which keytail knows that it was.
	heartbeat time.Time
	// streams has the state of each stream's cursor, scans that of each scan's.
	streams map[int64]*streamCursor
	scans   map[int64]*scanCursor
}

func newNetwork(w *world, set *replicaSet) *network {
	return &network{
		world: w, set: set, slow: 0.03, stalled: map[class]time.Time{}, failing: map[class]float64{},
		streams: map[int64]*streamCursor{}, scans: map[int64]*scanCursor{},
	}
}

// command is a command on its way.
type command struct {
	chance
	who, name string
	class     class
	// label is what distinguishes it from others of its kind, the same in each run.
	label string
	body  bson.D
	fate  fate
	// executed is when main has executed it. Zero: it has not.
	executed time.Time
}

// fate is what happens to a command besides its delays.
type fate string

const (
	fateNone        fate = ""
	fateRequestLost fate = "the request is lost"
	fateReplyLost   fate = "the reply is lost"
	fateRefused     fate = "refused"
	fateEnded       fate = "the cursor ends without an error"
)

// call sends a command and waits for the reply, or until ctx ends.
func (n *network) call(ctx context.Context, who string, request []byte) ([]byte, error) {
	message, err := devmongo.DecodeMessage(request)
	if err != nil {
		return nil, err
	}
	c := n.newCommand(ctx, who, message.Body)
	type result struct {
		body bson.D
		err  error
	}
	done := make(chan result, 1)
	connected, disconnect := context.WithCancel(n.world.ctx)
	notices := c.between(time.Millisecond, 300*time.Millisecond)
	n.world.start(func() {
		defer disconnect()
		body, err := n.deliver(connected, c)
		done <- result{body, err}
	})
	select {
	case r := <-done:
		if r.err != nil {
			n.world.trace("%s: %s: %v", who, c.label, r.err)
			return nil, errConnection
		}
		n.noteReply(c, r.body)
		return message.Reply(r.body)
	case <-ctx.Done():
		// The server notices it later, and may have executed the command by then.
		n.world.start(func() {
			sleep(connected, notices)
			disconnect()
		})
		n.world.trace("%s: %s: given up", who, c.label)
		return nil, ctx.Err()
	}
}

// newCommand decides the fate of a command.
func (n *network) newCommand(ctx context.Context, who string, body bson.D) *command {
	c := &command{who: who, name: body[0].Key, body: body}
	c.class, c.label = n.classify(c)
	c.label += callerOf(ctx)
	c.chance = n.world.dice.next(who + c.label)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if who == program && c.in(n.failing[c.class]) {
		fates := []fate{fateRequestLost, fateReplyLost, fateRefused, fateRefused}
		if c.class == classStream && c.name == "getMore" {
			fates = append(fates, fateEnded)
		}
		c.fate = pick(c.chance, fates)
	}
	return c
}

// classify returns the class of a command, and its label: without what is random in each run.
func (n *network) classify(c *command) (class, string) {
	collection, _ := c.body[0].Value.(string)
	switch c.name {
	case "aggregate":
		if strings.Contains(fmt.Sprint(lookup(c.body, "pipeline")), "$changeStream") {
			return classStream, "open the stream"
		}
	case "getMore":
		id, _ := c.body[0].Value.(int64)
		n.mutex.Lock()
		defer n.mutex.Unlock()
		if n.scans[id] != nil {
			return classScan, "next batch of the scan"
		}
		return classStream, "read the stream"
	case "find":
		filter := fmt.Sprint(lookup(c.body, "filter"))
		if filter == "{}" {
			return classScan, "begin a scan"
		}
		return classRead, fmt.Sprintf("find %s %v", shorten(filter), lookup(c.body, "readConcern"))
	case "update", "delete":
		if c.who == program {
			return classHeartbeat, c.name + " the heartbeat"
		}
	}
	if c.who == program {
		return classOther, c.name + " " + collection
	}
	return classWrite, c.who + ": " + c.name + " " + collection + " " + shorten(fmt.Sprint(lookup(c.body, "documents"), lookup(c.body, "updates"), lookup(c.body, "deletes")))
}

// shorten cuts hashes in a text.
func shorten(text string) string {
	for _, k := range keys {
		text = strings.ReplaceAll(text, k.stored, k.name)
	}
	return text
}

// deliver brings a command to a node, executes it there, and brings the reply back.
func (n *network) deliver(ctx context.Context, c *command) (bson.D, error) {
	if !n.travel(ctx, c) || c.fate == fateRequestLost {
		return nil, errConnection
	}
	reply, err := n.execute(ctx, c)
	if err != nil {
		return nil, err
	}
	n.world.traceReply(c, reply)
	if !n.travel(ctx, c) || c.fate == fateReplyLost {
		return nil, errConnection
	}
	return reply, nil
}

// travel takes the time of one direction. False: the client has disconnected.
func (n *network) travel(ctx context.Context, c *command) bool {
	n.mutex.Lock()
	slow := c.in(n.slow)
	n.mutex.Unlock()
	delay := c.between(30*time.Microsecond, 3*time.Millisecond)
	if slow {
		delay = c.between(3*time.Millisecond, time.Second)
	}
	for {
		if !sleep(ctx, delay) {
			return false
		}
		n.mutex.Lock()
		left := time.Until(n.stalled[c.class])
		n.mutex.Unlock()
		if left <= 0 || c.who != program {
			return true
		}
		delay = left + c.between(10*time.Microsecond, 20*time.Millisecond)
	}
}

// noteReply notes a heartbeat that keytail knows to be written.
func (n *network) noteReply(c *command, reply bson.D) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if written, _ := lookup(reply, "n").(int32); c.class == classHeartbeat && c.name == "update" && written > 0 && c.executed.After(n.heartbeat) {
		n.heartbeat = c.executed
	}
}

// acknowledgedAfter reports whether a heartbeat was written after this moment, and keytail knows it.
func (n *network) acknowledgedAfter(moment time.Time) bool {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.heartbeat.After(moment)
}

// sleep waits. False: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
