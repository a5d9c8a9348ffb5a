package changestream

import (
	"encoding/binary"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestTokenTime(t *testing.T) {
	cases := []struct {
		name string
		data any
		want clustertime.Time
		ok   bool
	}{
		// A high-water-mark token as a server sends it: 0x82, seconds, increment, and a
		// rest that keytail does not read.
		{"high-water mark", "826923A1C0000000032B0429296E1404", clustertime.New(0x6923a1c0, 3), true},
		{"lower case", "826923a1c000000003", clustertime.New(0x6923a1c0, 3), true},
		{"too short", "826923a1c0000000", 0, false},
		{"another first byte", "016923a1c000000003", 0, false},
		{"not hex", "82zz23a1c000000003", 0, false},
		{"a number", int32(82), 0, false},
	}
	for _, c := range cases {
		token, err := bson.Marshal(bson.D{{Key: "_data", Value: c.data}})
		if err != nil {
			t.Fatal(err)
		}
		got, ok := tokenTime(token)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: got %v, %v", c.name, got, ok)
		}
	}
	if _, ok := tokenTime(nil); ok {
		t.Error("a time was read from no token")
	}
}

// With a token that the driver cannot encode, no attempt to resume would ever reach the server.
func TestATokenThatIsNotBSONIsALoss(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r, open := openBehind(t, s, 1)
	const text = 4 + 1 + len("_data\x00") // where the length of the text is
	malformed := slices.Clone(r.token)
	binary.LittleEndian.PutUint32(malformed[text:], 1<<30)
	r.token = malformed
	again, err := r.watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if !open.resumed || again.resumed {
		t.Errorf("resumed: with the server's token %v, with a malformed one %v", open.resumed, again.resumed)
	}
}
