package simulation

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
)

// Codes that are injected. Those of loss end the stream's history.
var (
	transientCodes = []int32{6, 43, 63, 89, 91, 133, 189, 234, 262, 9001, 10107, 11600, 11602, 13435}
	lossCodes      = []int32{136, 260, 280, 286, 10334, 99999}
)

// code chooses the code of a refused command.
func (c *command) code() int32 {
	if c.class == classStream && c.in(0.4) {
		return pick(c.chance, lossCodes)
	}
	return pick(c.chance, transientCodes)
}

// execute runs a command on a node.
func (n *network) execute(ctx context.Context, c *command) (bson.D, error) {
	switch {
	case c.fate == fateRefused:
		return n.refuse(c, c.code()), nil
	case c.class == classStream:
		return n.stream(ctx, c)
	case c.class == classScan:
		return n.scan(ctx, c)
	}
	return n.executeOn(ctx, c, c.body)
}

// executeOn runs a command on main, or on the node that was cut off.
func (n *network) executeOn(ctx context.Context, c *command, body bson.D) (bson.D, error) {
	if node, ends := n.route(c); node != nil {
		return n.onDeposed(ctx, node, ends, body)
	}
	return n.onMain(ctx, c, body)
}

// route returns the node that was cut off, if it gets the command.
func (n *network) route(c *command) (*devmongo.Server, <-chan struct{}) {
	n.mutex.Lock()
	toDeposed := c.in(n.deposedShare)
	n.mutex.Unlock()
	node, ends := n.set.cutOff()
	if node == nil || c.who != program || !toDeposed {
		return nil, nil
	}
	return node, ends
}

// onDeposed runs a command on a node that may learn meanwhile that it does not lead.
func (n *network) onDeposed(ctx context.Context, node *devmongo.Server, ends <-chan struct{}, body bson.D) (bson.D, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.world.start(func() {
		select {
		case <-ends:
			cancel()
		case <-ctx.Done():
		}
	})
	return n.repeatWhileAhead(ctx, node, body)
}

// codeInvalidOptions is that of a read after a cluster time that the node has not reached.
const codeInvalidOptions = int32(72)

// repeatWhileAhead waits where a node would refuse to read after a time that it has not reached: the client
// repeats such a read until its deadline.
func (n *network) repeatWhileAhead(ctx context.Context, node *devmongo.Server, body bson.D) (bson.D, error) {
	for {
		reply, err := node.Execute(ctx, body)
		if err != nil || lookup(reply, "code") != codeInvalidOptions {
			return reply, err
		}
		if !sleep(ctx, 37*time.Millisecond) {
			return nil, errConnection
		}
	}
}

// onMain runs a command on main. A write is executed at once, and acknowledged when a majority has it.
func (n *network) onMain(ctx context.Context, c *command, body bson.D) (bson.D, error) {
	if !isWrite(c.name) {
		return n.repeatWhileAhead(ctx, n.set.main, body)
	}
	if lookup(body, "autocommit") == nil || c.name == "commitTransaction" {
		body = with(body, "writeConcern", bson.D{{Key: "w", Value: int32(1)}})
	}
	undone := n.set.undone()
	reply, err := n.set.main.Execute(ctx, body)
	if err != nil {
		return nil, err
	}
	c.executed = time.Now()
	if c.who == writers {
		n.world.observe()
	}
	if lookup(reply, "ok") == 1.0 && !n.set.committed(ctx, undone) {
		return nil, errConnection
	}
	return reply, nil
}

func isWrite(name string) bool {
	return slices.Contains([]string{"insert", "update", "delete", "commitTransaction"}, name)
}

// refuse returns a node's refusal with this code.
func (n *network) refuse(c *command, code int32) bson.D {
	failCommand := bson.D{
		{Key: "configureFailPoint", Value: "failCommand"},
		{Key: "mode", Value: bson.D{{Key: "times", Value: int64(1)}}},
		{Key: "data", Value: bson.D{{Key: "failCommands", Value: bson.A{c.name}}, {Key: "errorCode", Value: code}}},
		{Key: "$db", Value: "admin"},
	}
	if _, err := n.set.main.Execute(n.world.ctx, failCommand); err != nil {
		panic(err)
	}
	reply, err := n.set.main.Execute(n.world.ctx, c.body)
	if err != nil {
		panic(err)
	}
	return reply
}
