package attack

import (
	"slices"
	"testing"

	"github.com/keytail/keytail/bench/child"
)

// slow are attacks that wait for limits of several seconds.
var slow = []string{
	"5,000 gRPC calls that are half sent, after 30 s", "8 guesses of an admin token",
	"100 clients that send a header byte by byte, after 8 s", "100 clients that send a body byte by byte, after 15 s",
}

// TestAttacksDoNotSucceed runs those that take no time. It keeps the command working, and
// attacks the daemon as a process; tests of the packages do the same for the slow ones.
func TestAttacksDoNotSucceed(t *testing.T) {
	binary, err := child.Build(t.Context(), "../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	quick := slices.DeleteFunc(slices.Clone(All), func(a Attack) bool { return slices.Contains(slow, a.Name) })
	if len(quick) != len(All)-len(slow) {
		t.Fatal("an attack in slow does not exist: it has another name now")
	}
	_, err = Run(t.Context(), quick, binary, t.TempDir(), func(a Attack, result string) {
		if result != a.Want {
			t.Errorf("%s: got %s, want %s", a.Name, result, a.Want)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
