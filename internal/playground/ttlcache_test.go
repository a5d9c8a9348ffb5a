package playground

import (
	"context"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

func TestTTLCache(t *testing.T) {
	f := newFakeMongoDB()
	now := time.Unix(1000, 0)
	cache := NewTTLCache(f, 5*time.Second, func() time.Time { return now })
	f.codes["a"] = apikey.Valid
	want := func(code apikey.Code, age time.Duration, asked bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if got := cache.Get(ctx, "a"); got != (Answer{code, age, asked}) {
			t.Errorf("got %+v, want %v %v %v", got, code, age, asked)
		}
	}
	want(apikey.Valid, 0, true)
	f.codes["a"] = apikey.Disabled
	now = now.Add(4 * time.Second)
	want(apikey.Valid, 4*time.Second, false)
	f.Freeze()
	now = now.Add(time.Second)
	want(apikey.Unavailable, 0, true)
	f.Heal()
	want(apikey.Disabled, 0, true)
	f.codes["a"] = apikey.Valid
	want(apikey.Disabled, 0, false)
	cache.Forget("a")
	want(apikey.Valid, 0, true)
}
