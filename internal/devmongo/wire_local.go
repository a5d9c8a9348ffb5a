package devmongo

import (
	"bytes"
	"context"
	"net"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Message is a command as a driver has encoded it.
type Message struct {
	// Body is the command with its document sequences as arrays.
	Body bson.D
	// request is what a reply refers to.
	request *request
}

// DecodeMessage reads a message. The error describes what is wrong with it.
func DecodeMessage(message []byte) (*Message, error) {
	req, err := readMessage(bytes.NewReader(message))
	if err != nil {
		return nil, err
	}
	return &Message{Body: req.body, request: req}, req.err
}

// Reply encodes the reply to the message.
func (m *Message) Reply(reply bson.D) ([]byte, error) { return compose(m.request, reply) }

// NewLocal makes a server that does not listen and starts no goroutine: commands come through Execute,
// and nothing happens periodically. It is for simulations, which have no network. The error is
// ErrProduction.
func NewLocal(cfg Config) (*Server, error) {
	if err := refuseProduction(&cfg); err != nil {
		return nil, err
	}
	return newServer(withDefaults(cfg), nil), nil
}

// Execute runs a command as if it had come over a connection of its own, and returns the reply. An
// error means that the connection was closed instead, as by an election, or when ctx ended.
func (s *Server) Execute(ctx context.Context, body bson.D) (bson.D, error) {
	ctx, hangUp := context.WithCancelCause(ctx)
	defer hangUp(nil)
	c := s.addConn(localConn{hangUp: hangUp})
	defer s.removeConn(c)
	reply, err := s.execute(ctx, c, &request{body: body})
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return reply, err
}

// localConn is the network connection of a command that came through Execute: it can only be closed.
type localConn struct {
	net.Conn
	hangUp context.CancelCauseFunc
}

// Close ends the command.
func (c localConn) Close() error {
	c.hangUp(errHangUp)
	return nil
}
