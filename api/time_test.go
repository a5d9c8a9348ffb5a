package api_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/keytail/keytail/api"
)

// TestTimesAreAlwaysRFC3339: MongoDB's dates reach further than the years of
// RFC 3339.
func TestTimesAreAlwaysRFC3339(t *testing.T) {
	for at, want := range map[int64]string{
		math.MaxInt64: "9999-12-31T23:59:59.999Z", math.MinInt64: "0000-01-01T00:00:00Z", 0: "1970-01-01T00:00:00Z",
		1_500: "1970-01-01T00:00:01.5Z",
	} {
		text, err := json.Marshal(api.Time{Time: time.UnixMilli(at)})
		var read api.Time
		if err != nil || string(text) != `"`+want+`"` || json.Unmarshal(text, &read) != nil {
			t.Errorf("%d: %s, %v, want %s", at, text, err, want)
		}
	}
}

func TestTimestampsHaveThreeDigitsAndAreTruncated(t *testing.T) {
	for at, want := range map[int64]string{0: "1970-01-01T00:00:00.000Z", 1_999_999_999: "1970-01-01T00:00:01.999Z"} {
		text, err := json.Marshal(api.Timestamp{Time: time.Unix(0, at)})
		if err != nil || string(text) != `"`+want+`"` {
			t.Errorf("%d: %s, %v, want %s", at, text, err, want)
		}
	}
}
