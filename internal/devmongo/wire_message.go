package devmongo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// maxMessage is MongoDB's limit on a message, in bytes.
const maxMessage = 48_000_000

// request is one command. Its document sequences have become arrays in the body.
type request struct {
	id     int32
	legacy bool // OP_QUERY, which needs an OP_REPLY
	silent bool // moreToCome: the client expects no reply
	body   bson.D
	// err is set when the message is complete but its content is invalid.
	err error
}

// readMessage reads one message. After an error the connection must be closed.
func readMessage(r io.Reader) (*request, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length := int64(int32(binary.LittleEndian.Uint32(head[:4])))
	if length < 16 || length > maxMessage {
		return nil, fmt.Errorf("invalid message length %d: the limit is %d", length, maxMessage)
	}
	var body bytes.Buffer // grows with the data that arrives, not by the announced length
	if _, err := io.CopyN(&body, r, length-16); err != nil {
		return nil, err
	}
	_, id, _, opcode, _, _ := wiremessage.ReadHeader(head[:])
	switch opcode {
	case wiremessage.OpMsg:
		return parseMsg(id, body.Bytes())
	case wiremessage.OpQuery:
		return parseQuery(id, body.Bytes())
	}
	return nil, fmt.Errorf("opcode %d is not supported", opcode)
}

func parseMsg(id int32, src []byte) (*request, error) {
	flags, src, ok := wiremessage.ReadMsgFlags(src)
	if !ok || flags&0xffff&^(wiremessage.ChecksumPresent|wiremessage.MoreToCome) != 0 {
		return nil, fmt.Errorf("an OP_MSG has unknown flags %#x", uint32(flags))
	}
	if flags&wiremessage.ChecksumPresent != 0 {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		src = src[:len(src)-4]
	}
	req := &request{id: id, silent: flags&wiremessage.MoreToCome != 0}
	req.body, req.err = parseSections(src)
	return req, nil
}

func parseSections(src []byte) (bson.D, error) {
	var body bson.D
	var sequences bson.D
	for len(src) > 0 {
		kind, rest, _ := wiremessage.ReadMsgSectionType(src)
		switch kind {
		case wiremessage.SingleDocument:
			raw, after, ok := wiremessage.ReadMsgSectionSingleDocument(rest)
			if !ok || body != nil {
				return nil, errBadBSON()
			}
			d, err := decode(raw)
			if err != nil {
				return nil, err
			}
			body, src = d, after
		case wiremessage.DocumentSequence:
			e, after, err := parseSequence(rest)
			if err != nil {
				return nil, err
			}
			sequences, src = append(sequences, e), after
		default:
			return nil, refuse(codeFailedToParse, "Unknown section kind %d", kind)
		}
	}
	if len(body) == 0 {
		return nil, refuse(codeFailedToParse, "OP_MSG has no body section")
	}
	for _, e := range sequences {
		if !isMissing(field(body, e.Key)) {
			return nil, refuse(codeFailedToParse, "Duplicate field '%s' in body and document sequence", e.Key)
		}
		body = append(body, e)
	}
	return body, nil
}

func parseSequence(src []byte) (bson.E, []byte, error) {
	size, _, ok := wiremessage.ReadMsgChecksum(src) // reads 32 bits, here a length
	if !ok || size < 5 || int64(size) > int64(len(src)) {
		return bson.E{}, nil, errBadBSON()
	}
	name, docs, rest, ok := wiremessage.ReadMsgSectionDocumentSequence(src)
	if !ok {
		return bson.E{}, nil, errBadBSON()
	}
	list := make(bson.A, 0, len(docs))
	for _, raw := range docs {
		d, err := decode(raw)
		if err != nil {
			return bson.E{}, nil, err
		}
		list = append(list, d)
	}
	return bson.E{Key: name, Value: list}, rest, nil
}

// parseQuery parses the only supported use of OP_QUERY: the first hello of a
// connection.
func parseQuery(id int32, src []byte) (*request, error) {
	_, src, ok := wiremessage.ReadQueryFlags(src)
	if !ok {
		return nil, io.ErrUnexpectedEOF
	}
	ns, src, ok := wiremessage.ReadQueryFullCollectionName(src)
	if !ok || len(src) < 8 {
		return nil, io.ErrUnexpectedEOF
	}
	raw, _, ok := wiremessage.ReadQueryQuery(src[8:])
	if !ok {
		return nil, io.ErrUnexpectedEOF
	}
	req := &request{id: id, legacy: true}
	req.body, req.err = decode(raw)
	if req.err == nil && (ns != "admin.$cmd" || len(req.body) == 0 || !isHello(req.body[0].Key)) {
		req.err = refuse(352, "Unsupported OP_QUERY command. The client driver may require an upgrade")
	}
	return req, nil
}

// compose encodes a reply.
func compose(req *request, reply bson.D) ([]byte, error) {
	raw, err := bson.Marshal(reply)
	if err != nil {
		return nil, err
	}
	if req.legacy {
		i, b := wiremessage.AppendHeaderStart(nil, wiremessage.NextRequestID(), req.id, wiremessage.OpReply)
		b = wiremessage.AppendReplyFlags(b, wiremessage.AwaitCapable)
		b = wiremessage.AppendReplyCursorID(b, 0)
		b = wiremessage.AppendReplyStartingFrom(b, 0)
		b = append(wiremessage.AppendReplyNumberReturned(b, 1), raw...)
		return setLength(b, i), nil
	}
	i, b := wiremessage.AppendHeaderStart(nil, wiremessage.NextRequestID(), req.id, wiremessage.OpMsg)
	b = wiremessage.AppendMsgFlags(b, 0)
	b = append(wiremessage.AppendMsgSectionType(b, wiremessage.SingleDocument), raw...)
	return setLength(b, i), nil
}

func setLength(b []byte, at int32) []byte {
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)))
	return b
}
