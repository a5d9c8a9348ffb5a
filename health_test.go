package keytail

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/revocation"
)

// TestStates has what each state is made of; states_test.go has the transitions
// of a running service.
func TestStates(t *testing.T) {
	cases := []struct {
		signs signs
		want  state
	}{
		{signs{}, connecting},
		{signs{trusted: true}, connecting},
		{signs{trusted: true, loading: true}, connecting},
		{signs{trusted: true, began: true, fresh: true, loading: true}, preloading},
		{signs{trusted: true, began: true, fresh: true}, live},
		{signs{began: true, fresh: true}, connecting},
		{signs{trusted: true, began: true}, stale},
		{signs{began: true}, stale},
		{signs{trusted: true, began: true, loading: true}, stale},
		{signs{trusted: true, began: true, down: true}, down},
		{signs{down: true}, down},
	}
	for _, c := range cases {
		if got := c.signs.state(); got != c.want {
			t.Errorf("%+v is %v, want %v", c.signs, got, c.want)
		}
	}
}

// TestTheTruthMayBeLost only when it was there before, or the database is away too.
func TestTheTruthMayBeLost(t *testing.T) {
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
		if got := c.signs.lost(); got != c.want {
			t.Errorf("%+v: %v", c.signs, got)
		}
	}
}

// TestTheFirstStateIsToldToo: those who begin to listen are told the state.
func TestTheFirstStateIsToldToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		looks := 0
		h := &health{
			look: func() signs {
				looks++
				return signs{trusted: looks > 1, began: looks > 1, fresh: looks > 1}
			},
			doubt: func(bool) {}, logger: zap.NewNop(), firstLive: make(chan struct{}),
			changed: func(from, to string) { told = append(told, from+">"+to) },
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = h.run(ctx) }()
		<-h.firstLive
		synctest.Wait()
		if got := strings.Join(told, " "); got != ">connecting connecting>live" {
			t.Errorf("told %s", got)
		}
	})
}

func TestAShardedClusterIsSaid(t *testing.T) {
	s := &Service{logger: zap.NewNop(), sink: sink{watches: revocation.New(revocation.Config{})}}
	if got := newHealth(s, true, time.Now).note; got != shardedNote {
		t.Errorf("sharded: %q", got)
	}
	if got := newHealth(s, false, time.Now).note; got != "" {
		t.Errorf("not sharded: %q", got)
	}
}
