package resume

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// wire is the dialer of a service's client. It sees each command, before it is sent.
type wire struct {
	// intercept decides what happens to a command. It is called by one goroutine at a time.
	intercept func(c *command) action

	mutex   sync.Mutex
	counts  map[string]int
	streams map[int64]bool // the cursors of change streams
	seen    []*command
}

// command is a command on its way to the server.
type command struct {
	// class is what the service uses it for, such as "scan"; n is its number in the class, from 1.
	class string
	n     int
	body  bson.Raw
}

func (c *command) String() string { return fmt.Sprintf("%s %d", c.class, c.n) }

// action is what happens to a command. Zero: it is executed, and the client gets the reply.
type action struct {
	// rewritten replaces the command. Nil: it stays.
	rewritten bson.D
	// held delays the command until it is closed. Nil: no delay.
	held <-chan struct{}
	// unsent: the server does not get the command.
	unsent bool
	// reply replaces the server's. Nil: it stays.
	reply bson.D
	// cut: the connection ends instead of a reply. silent: there never is one.
	cut, silent bool
}

var errCut = errors.New("the connection was cut by the test")

func newWire(intercept func(c *command) action) *wire {
	return &wire{intercept: intercept, counts: map[string]int{}, streams: map[int64]bool{}}
}

// DialContext implements options.ContextDialer.
func (w *wire) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, wire: w, closed: make(chan struct{})}, nil
}

// commands are the commands until now.
func (w *wire) commands() []*command {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.seen)
}

// decide counts the command and returns what happens to it.
func (w *wire) decide(body bson.Raw) (*command, action) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	c := &command{class: w.classOf(body), body: slices.Clone(body)}
	if c.class == "" {
		return c, action{}
	}
	w.counts[c.class]++
	c.n = w.counts[c.class]
	w.seen = append(w.seen, c)
	return c, w.intercept(c)
}

// The classes of commands that have none of their own have the name of the command and the
// collection.
const (
	classOpen      = "open"
	classGetMore   = "stream"
	classScan      = "scan"
	classRefresh   = "refresh"
	classRead      = "read"
	classHeartbeat = "heartbeat"
)

// classOf is empty for commands of the driver itself.
func (w *wire) classOf(body bson.Raw) string {
	first := body.Index(0)
	name := first.Key()
	of := func(path ...string) bson.RawValue { return body.Lookup(path...) }
	switch name {
	case "hello", "isMaster", "ismaster", "ping", "endSessions":
		return ""
	case "aggregate":
		if of("pipeline", "0", "$changeStream").Type != 0 {
			return classOpen
		}
	case "getMore":
		if id, _ := of("getMore").AsInt64OK(); w.streams[id] {
			return classGetMore
		}
		return name + " " + of("collection").StringValue()
	case "find":
		switch {
		case of("find").StringValue() != keysCollection:
		case of("sort", "_id").Type != 0:
			return classScan
		case of("filter", "_id").Type != 0:
			return classRefresh
		default:
			return classRead
		}
	case "update":
		return classHeartbeat
	}
	collection, _ := first.Value().StringValueOK() // listCollections has a number there
	return strings.TrimSpace(name + " " + collection)
}

// noteCursor remembers the cursor of a change stream.
func (w *wire) noteCursor(c *command, reply bson.Raw) {
	if c.class != classOpen {
		return
	}
	if id, ok := reply.Lookup("cursor", "id").AsInt64OK(); ok {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		w.streams[id] = true
	}
}

// conn is a connection of the driver. The driver sends a command and reads its reply before it
// sends the next one.
type conn struct {
	net.Conn
	wire   *wire
	once   sync.Once
	closed chan struct{}

	out     []byte // the beginning of a message from the client
	in      []byte // what the client has not read yet of a message from the server
	sent    *command
	pending action
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *conn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	for len(c.out) >= 4 {
		size := int(binary.LittleEndian.Uint32(c.out))
		if len(c.out) < size {
			break
		}
		message := c.out[:size]
		if err := c.send(message); err != nil {
			return 0, err
		}
		c.out = slices.Clone(c.out[size:])
	}
	return len(p), nil
}

func (c *conn) send(message []byte) error {
	c.sent, c.pending = nil, action{}
	if body, ok := bodyOf(message); ok {
		c.sent, c.pending = c.wire.decide(body)
	}
	a := c.pending
	if a.held != nil {
		select {
		case <-a.held:
		case <-c.closed:
			return net.ErrClosed
		}
	}
	if a.unsent {
		if a.reply != nil {
			c.in = encode(a.reply, binary.LittleEndian.Uint32(message[4:]))
		} else if a.cut {
			_ = c.Close()
			return errCut
		}
		return nil
	}
	if a.rewritten != nil {
		id := binary.LittleEndian.Uint32(message[4:])
		message = encode(a.rewritten, 0)
		binary.LittleEndian.PutUint32(message[4:], id)
	}
	_, err := c.Conn.Write(message)
	return err
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		if err := c.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

// receive reads a message of the server, and applies the action of the command that it answers.
func (c *conn) receive() error {
	message, err := readMessage(c.Conn)
	if err != nil {
		return err
	}
	if body, ok := bodyOf(message); ok && c.sent != nil {
		c.wire.noteCursor(c.sent, body)
	}
	switch a := c.pending; {
	case a.cut:
		_ = c.Close()
		return errCut
	case a.silent:
		c.pending = action{}
		return c.receive() // nothing comes until the deadline, or until the client hangs up
	case a.reply != nil:
		message = encode(a.reply, binary.LittleEndian.Uint32(message[8:]))
	}
	c.pending = action{}
	c.in = message
	return nil
}

const headerBytes = 16

func readMessage(from io.Reader) ([]byte, error) {
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	message := make([]byte, binary.LittleEndian.Uint32(header))
	copy(message, header)
	_, err := io.ReadFull(from, message[headerBytes:])
	return message, err
}

const opMsg = 2013

// bodyOf is the document of kind 0 in an OP_MSG, which the driver and servers send first.
func bodyOf(message []byte) (bson.Raw, bool) {
	const sections = headerBytes + 4
	if len(message) < sections+5 || binary.LittleEndian.Uint32(message[12:]) != opMsg || message[sections] != 0 {
		return nil, false
	}
	body := message[sections+1:]
	return bson.Raw(body[:binary.LittleEndian.Uint32(body)]), true
}

// encode makes an OP_MSG.
func encode(body bson.D, responseTo uint32) []byte {
	raw, err := bson.Marshal(body)
	if err != nil {
		panic(err) // the test made it
	}
	message := make([]byte, headerBytes+5, headerBytes+5+len(raw))
	message = append(message, raw...)
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	binary.LittleEndian.PutUint32(message[8:], responseTo)
	binary.LittleEndian.PutUint32(message[12:], opMsg)
	return message
}

// waitLimit bounds what normally takes milliseconds.
const waitLimit = 20 * time.Second
