package service

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestStates has what each state is derived from; internal/integration has the
// transitions of a running service.
func TestStates(t *testing.T) {
	cases := []struct {
		signs signs
		want  State
	}{
		{signs{}, Connecting},
		{signs{trusted: true}, Connecting},
		{signs{trusted: true, loading: true}, Connecting},
		{signs{trusted: true, began: true, fresh: true, loading: true}, Preloading},
		{signs{trusted: true, began: true, fresh: true}, Live},
		{signs{began: true, fresh: true}, Connecting},
		{signs{trusted: true, began: true}, Stale},
		{signs{began: true}, Stale},
		{signs{trusted: true, began: true, loading: true}, Stale},
		{signs{trusted: true, began: true, down: true}, Down},
		{signs{down: true}, Down},
	}
	for _, c := range cases {
		if got := c.signs.state(); got != c.want {
			t.Errorf("%+v is %v, want %v", c.signs, got, c.want)
		}
	}
}

// TestChangesMayBeMissed only after the stream was fresh, or when the database fails,
// too.
func TestChangesMayBeMissed(t *testing.T) {
	for _, c := range []struct {
		signs signs
		want  bool
	}{
		{signs{}, false},
		{signs{trusted: true}, false},
		{signs{trusted: true, began: true, fresh: true}, false},
		{signs{began: true, fresh: true}, false},
		{signs{began: true, fresh: true, down: true}, false},
		{signs{trusted: true, began: true}, true},
		{signs{began: true, down: true}, true},
		{signs{down: true}, true},
	} {
		if got := c.signs.isLost(); got != c.want {
			t.Errorf("%+v: %v", c.signs, got)
		}
	}
}

// TestTheFirstStateIsReported, too: a new listener learns the state.
func TestTheFirstStateIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []string
		checks := 0
		h := &health{
			signs: func() signs {
				checks++
				return signs{trusted: checks > 1, began: checks > 1, fresh: checks > 1}
			},
			doubt: func(bool) {}, logger: zap.NewNop(), now: time.Now, firstLive: make(chan struct{}),
			changed: func(from, to string) { reported = append(reported, from+">"+to) },
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = h.run(ctx) }()
		<-h.firstLive
		synctest.Wait()
		if got := strings.Join(reported, " "); got != ">connecting connecting>live" {
			t.Errorf("reported %s", got)
		}
	})
}

func TestAShardedClusterHasANote(t *testing.T) {
	for sharded, want := range map[bool]string{true: shardedNote, false: ""} {
		h := &health{sharded: func() bool { return sharded }}
		if got := h.note(); got != want {
			t.Errorf("sharded %v: the note is %q, want %q", sharded, got, want)
		}
	}
}
