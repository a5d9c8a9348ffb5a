package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// replayServer is the wire protocol and nothing else: to a find it replies with n key
// documents, in batches as large as those of MongoDB, and it keeps none of them. So a
// scan is measured without the cost of a database.
type replayServer struct {
	listener net.Listener
	n        int
	// pace is the least time for one document. Zero: as fast as possible.
	pace time.Duration
	// document is the template of the documents. The texts of its _id and its hash are
	// at idAt and hashAt.
	document     []byte
	idAt, hashAt int
	group        sync.WaitGroup
}

const (
	idDigits   = 24
	hashDigits = 64
	// firstBatch is how many documents MongoDB returns in the first batch, batchBytes
	// the size of the others.
	firstBatch = 101
	batchBytes = 16 << 20
	// cursorID is that of all cursors. A connection has one at a time.
	cursorID = int64(7)
)

func newReplayServer(ctx context.Context, n int, pace time.Duration) (*replayServer, error) {
	r := sampleRecord(0)
	id, hash := string(make([]byte, idDigits)), string(make([]byte, hashDigits))
	document, err := bson.Marshal(bson.D{
		{Key: "_id", Value: id},
		{Key: "key_hash", Value: hash},
		{Key: "user_id", Value: r.UserID},
		{Key: "org_id", Value: r.OrgID},
		{Key: "name", Value: r.Name},
		{Key: "scopes", Value: r.Scopes},
		{Key: "is_active", Value: true},
	})
	if err != nil {
		return nil, err
	}
	s := &replayServer{n: n, pace: pace, document: document}
	// A string's text follows its type, its name with a zero byte, and its length.
	s.idAt = 4 + len("t_id\x00") + 4
	s.hashAt = s.idAt + idDigits + 1 + len("tkey_hash\x00") + 4
	s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.group.Go(func() {
		for {
			connection, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.group.Go(func() { s.serve(connection) })
		}
	})
	return s, nil
}

func (s *replayServer) connect() (*mongo.Client, error) {
	return mongo.Connect(mongooptions.Client().ApplyURI("mongodb://" + s.listener.Addr().String() + "/?directConnection=true&compressors="))
}

// close waits until all clients have disconnected.
func (s *replayServer) close() {
	_ = s.listener.Close()
	s.group.Wait()
}

// replay is one connection, and the position of its cursor.
type replay struct {
	*replayServer
	connection net.Conn
	next       int
	due        time.Time
	buffer     []byte
}

func (s *replayServer) serve(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	c := &replay{replayServer: s, connection: connection}
	reader := bufio.NewReader(connection)
	for {
		id, legacy, command, err := readCommand(reader)
		if err != nil {
			return
		}
		if err := c.answer(id, legacy, command); err != nil {
			return
		}
	}
}

// readCommand reads one command without document sequences.
func readCommand(r io.Reader) (id int32, legacy bool, command bson.Raw, err error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, false, nil, err
	}
	length, id, _, opcode, _, _ := wiremessage.ReadHeader(head[:])
	body := make([]byte, length-16)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, false, nil, err
	}
	if opcode == wiremessage.OpQuery { //nolint:staticcheck // drivers still greet a server with it
		// The flags, the collection's name, which ends with a zero, two numbers, the command.
		_, command, ok := bytes.Cut(body[4:], []byte{0})
		if !ok || len(command) < 8 {
			return 0, false, nil, errors.New("OP_QUERY is too short")
		}
		return id, true, bson.Raw(command[8:]), nil
	}
	if opcode != wiremessage.OpMsg {
		return 0, false, nil, errors.New("unknown opcode")
	}
	return id, false, bson.Raw(body[4+1:]), nil
}

func (c *replay) answer(id int32, legacy bool, command bson.Raw) error {
	name := command.Index(0).Key()
	switch name {
	case "find":
		c.next, c.due = 0, time.Now()
		return c.sendBatch(id, "firstBatch", firstBatch)
	case "getMore":
		return c.sendBatch(id, "nextBatch", batchBytes/len(c.document))
	}
	reply := bson.D{{Key: "ok", Value: 1.0}}
	switch name {
	case "hello", "isMaster", "ismaster":
		reply = append(bson.D{
			{Key: "ismaster", Value: true},
			{Key: "isWritablePrimary", Value: true},
			{Key: "helloOk", Value: true},
			{Key: "setName", Value: "replay"},
			{Key: "me", Value: c.listener.Addr().String()},
			{Key: "hosts", Value: bson.A{c.listener.Addr().String()}},
			{Key: "maxBsonObjectSize", Value: int32(batchBytes)},
			{Key: "maxMessageSizeBytes", Value: int32(48_000_000)},
			{Key: "maxWriteBatchSize", Value: int32(100_000)},
			{Key: "logicalSessionTimeoutMinutes", Value: int32(30)},
			{Key: "minWireVersion", Value: int32(0)},
			{Key: "maxWireVersion", Value: int32(21)},
		}, reply...)
	case "count":
		reply = append(reply, bson.E{Key: "n", Value: int64(c.n)})
	}
	raw, err := bson.Marshal(reply)
	if err != nil {
		return err
	}
	if legacy {
		return c.send(id, wiremessage.OpReply, func(b []byte) []byte {
			b = wiremessage.AppendReplyFlags(b, wiremessage.AwaitCapable)
			b = wiremessage.AppendReplyCursorID(b, 0)
			b = wiremessage.AppendReplyStartingFrom(b, 0)
			return append(wiremessage.AppendReplyNumberReturned(b, 1), raw...)
		})
	}
	return c.sendMsg(id, func(b []byte) []byte { return append(b, raw...) })
}

func (c *replay) sendMsg(id int32, appendBody func([]byte) []byte) error {
	return c.send(id, wiremessage.OpMsg, func(b []byte) []byte {
		return appendBody(wiremessage.AppendMsgSectionType(wiremessage.AppendMsgFlags(b, 0), wiremessage.SingleDocument))
	})
}

// send sends one message, whose body appendBody appends.
func (c *replay) send(id int32, opcode wiremessage.OpCode, appendBody func([]byte) []byte) error {
	at, b := wiremessage.AppendHeaderStart(c.buffer[:0], 0, id, opcode)
	b = appendBody(b)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)))
	c.buffer = b
	_, err := c.connection.Write(b)
	return err
}

// sendBatch sends the next documents of the cursor, and closes it after the last one.
func (c *replay) sendBatch(id int32, field string, count int) error {
	count = min(count, c.n-c.next)
	cursor := cursorID
	if c.next+count == c.n {
		cursor = 0
	}
	c.due = c.due.Add(time.Duration(count) * c.pace)
	if c.pace > 0 {
		time.Sleep(time.Until(c.due))
	}
	return c.sendMsg(id, func(b []byte) []byte {
		return appendDocument(b, func(b []byte) []byte {
			b = append(append(b, byte(bson.TypeEmbeddedDocument)), "cursor\x00"...)
			b = appendDocument(b, func(b []byte) []byte {
				b = binary.LittleEndian.AppendUint64(append(append(b, byte(bson.TypeInt64)), "id\x00"...), uint64(cursor))
				const namespace = "bench.api_keys\x00"
				b = binary.LittleEndian.AppendUint32(append(append(b, byte(bson.TypeString)), "ns\x00"...), uint32(len(namespace)))
				b = append(b, namespace...)
				b = append(append(append(b, byte(bson.TypeArray)), field...), 0)
				return appendDocument(b, func(b []byte) []byte { return c.appendKeys(b, count) })
			})
			return append(append(b, byte(bson.TypeDouble)), "ok\x00\x00\x00\x00\x00\x00\x00\xf0\x3f"...)
		})
	})
}

// appendDocument appends a document with the elements that appendElements appends.
func appendDocument(b []byte, appendElements func([]byte) []byte) []byte {
	at := len(b)
	b = append(appendElements(append(b, 0, 0, 0, 0)), 0)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// appendKeys appends an array's elements: the next count documents, each with an _id
// and a hash of its own.
func (c *replay) appendKeys(b []byte, count int) []byte {
	var id [idDigits / 2]byte
	var hash [hashDigits / 2]byte
	for i := range count {
		b = append(strconv.AppendInt(append(b, byte(bson.TypeEmbeddedDocument)), int64(i), 10), 0)
		at := len(b)
		b = append(b, c.document...)
		number := uint64(c.next + i)
		binary.BigEndian.PutUint64(id[4:], number)
		hex.Encode(b[at+c.idAt:], id[:])
		// An odd factor maps different numbers to different ones, as evenly as a hash.
		binary.BigEndian.PutUint64(hash[:], (number+1)*0x9e3779b97f4a7c15)
		hex.Encode(b[at+c.hashAt:], hash[:])
	}
	c.next += count
	return b
}
