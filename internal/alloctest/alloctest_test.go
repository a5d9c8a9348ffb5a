package alloctest

import "testing"

var sink []byte

// TestPerCall: now and then a call allocates more, and that does not count.
func TestPerCall(t *testing.T) {
	n := 0
	got := PerCall(func() {
		sink = make([]byte, 1024)
		if n++; n%4 != 0 {
			sink = make([]byte, 2048)
		}
	})
	if got != 1 {
		t.Errorf("%v allocations, want the one of each call", got)
	}
	if got := PerCall(func() {}); got != 0 {
		t.Errorf("%v allocations of nothing", got)
	}
}
