package devmongo

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// position is a place in the order of events: after everything at or before it. A
// high-water mark (event false) is before all events of its time.
type position struct {
	at         clustertime.Time
	event      bool
	index      int
	invalidate bool
}

func positionOf(e *logEntry) position { return position{at: e.at, event: true, index: e.index} }

// before reports whether p is strictly earlier than q.
func (p position) before(q position) bool {
	return cmp.Or(cmp.Compare(p.at, q.at), compareBools(p.event, q.event), cmp.Compare(p.index, q.index), compareBools(p.invalidate, q.invalidate)) < 0
}

// The bytes of a resume token, in the server's sortable encoding of keys: 0x82 and 8
// bytes of timestamp, the version, the type of the token (0 for a high-water mark, 128
// for an event), the index within a transaction, whether it is of an invalidate event,
// and the UUID of the collection. Clients may rely on the first nine bytes only; the
// rest makes tokens unique and keeps their order.
const (
	tokenTimestamp = 0x82
	tokenZero      = 0x29
	tokenOneByte   = 0x2b
	tokenTwoBytes  = 0x2c
	tokenFourBytes = 0x2e
	tokenFalse     = 0x6e
	tokenTrue      = 0x6f
	tokenBinary    = 0x5a
	tokenNull      = 0x14
	tokenEnd       = 0x04
)

// token returns the resume token of a position.
func (p position) token(uuid [16]byte) bson.D {
	b := binary.BigEndian.AppendUint64([]byte{tokenTimestamp}, uint64(p.at))
	b = append(b, tokenOneByte, 2<<1)
	if !p.event {
		b = append(b, tokenZero, tokenZero, tokenFalse, tokenNull, tokenEnd)
		return tokenDocument(b)
	}
	b = appendTokenInt(append(b, tokenTwoBytes, 0x01, 0x00), p.index)
	if p.invalidate {
		b = append(b, tokenTrue)
	} else {
		b = append(b, tokenFalse)
	}
	b = append(append(b, tokenBinary, 16, 4), uuid[:]...)
	return tokenDocument(append(b, tokenEnd))
}

func tokenDocument(b []byte) bson.D {
	return bson.D{{Key: "_data", Value: strings.ToUpper(hex.EncodeToString(b))}}
}

func appendTokenInt(b []byte, n int) []byte {
	switch {
	case n == 0:
		return append(b, tokenZero)
	case n < 64:
		return append(b, tokenOneByte, byte(n<<1))
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(append(b, tokenTwoBytes), uint16(n<<1))
	}
	return binary.BigEndian.AppendUint32(append(b, tokenFourBytes), uint32(n<<1))
}

// parseToken is the inverse of token.
func parseToken(d bson.D) (position, error) {
	data, _ := field(d, "_data").(string)
	b, err := hex.DecodeString(data)
	if err != nil || len(b) < 13 || b[0] != tokenTimestamp || b[9] != tokenOneByte || b[10] != 2<<1 {
		return position{}, errToken(data)
	}
	p := position{at: clustertime.Time(binary.BigEndian.Uint64(b[1:9]))}
	if b[11] == tokenZero {
		return p, nil
	}
	rest := b[11:]
	if len(rest) < 4 || rest[0] != tokenTwoBytes || rest[1] != 1 || rest[2] != 0 {
		return position{}, errToken(data)
	}
	p.event = true
	rest, p.index = readTokenInt(rest[3:])
	if len(rest) == 0 || (rest[0] != tokenTrue && rest[0] != tokenFalse) {
		return position{}, errToken(data)
	}
	p.invalidate = rest[0] == tokenTrue
	return p, nil
}

func readTokenInt(b []byte) (rest []byte, n int) {
	width := map[byte]int{tokenZero: 0, tokenOneByte: 1, tokenTwoBytes: 2, tokenFourBytes: 4}
	if len(b) == 0 {
		return nil, 0
	}
	w, ok := width[b[0]]
	if !ok || len(b) < 1+w {
		return nil, 0
	}
	for _, c := range b[1 : 1+w] {
		n = n<<8 | int(c)
	}
	return b[1+w:], min(n>>1, math.MaxInt32)
}

func errToken(data string) error {
	return refuse(codeFailedToParse, "Resume token '%s' was not created by devmongo", data)
}
