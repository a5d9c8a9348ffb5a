package changestream

import (
	"encoding/binary"
	"encoding/hex"

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
