package changestream

import (
	"encoding/binary"
	"encoding/hex"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// tokenTime reads the cluster time in a resume token of MongoDB's own layout: hex, first byte
// 0x82, then 8 bytes of timestamp, big-endian (KeyString encoding of the server's
// resume_token.cpp, from 4.0.7 on). keytail reads tokens and sends them back; it never builds one.
// False: another layout.
func tokenTime(token bson.Raw) (clustertime.Time, bool) {
	const (
		timestampType = 0x82
		headBytes     = 1 + 8
	)
	data, ok := token.Lookup("_data").StringValueOK()
	if !ok || len(data) < hex.EncodedLen(headBytes) {
		return 0, false
	}
	head, err := hex.DecodeString(data[:hex.EncodedLen(headBytes)])
	if err != nil || head[0] != timestampType {
		return 0, false
	}
	return clustertime.Time(binary.BigEndian.Uint64(head[1:])), true
}

// errTokenMalformed means that no stream can be opened after the token.
var errTokenMalformed = errors.New("the server sent a resume token that is not valid BSON")

// isEncodable reports whether a request can contain the token. The driver keeps a token as it arrived,
// and fails to encode the request if a part of it is not valid BSON.
func isEncodable(token bson.Raw) bool {
	_, err := bson.Marshal(bson.D{{Key: "resumeAfter", Value: token}})
	return err == nil
}
