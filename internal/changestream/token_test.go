package changestream

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
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
