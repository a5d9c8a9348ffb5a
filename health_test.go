package keytail

import (
	"testing"
	"time"

	"go.uber.org/zap"
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

func TestAShardedClusterIsSaid(t *testing.T) {
	s := &Service{logger: zap.NewNop()}
	if got := newHealth(s, true, time.Now).note; got != shardedNote {
		t.Errorf("sharded: %q", got)
	}
	if got := newHealth(s, false, time.Now).note; got != "" {
		t.Errorf("not sharded: %q", got)
	}
}
