package clustertime

import (
	"cmp"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSecondsAndIncrement(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seconds, increment := rapid.Uint32().Draw(t, "seconds"), rapid.Uint32().Draw(t, "increment")
		if c := New(seconds, increment); c.Seconds() != seconds || c.Increment() != increment {
			t.Fatalf("%v has %d and %d", c, c.Seconds(), c.Increment())
		}
	})
}

func TestTextSortsAsTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := Time(rapid.Uint64().Draw(t, "a")), Time(rapid.Uint64().Draw(t, "b"))
		if strings.Compare(a.String(), b.String()) != cmp.Compare(a, b) {
			t.Fatalf("%s and %s sort differently from %d and %d", a, b, a, b)
		}
		if back, err := Parse(a.String()); err != nil || back != a {
			t.Fatalf("%s was parsed as %s, %v", a, back, err)
		}
	})
}

func TestBefore(t *testing.T) {
	t.Parallel()
	for at, want := range map[Time]Time{
		0: 0, 1: 0, New(7, 3): New(7, 2), New(7, 1): New(7, 0), New(7, 0): New(6, math.MaxUint32),
	} {
		if got := at.Before(); got != want {
			t.Errorf("before %s: %s, want %s", at, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "6923a1c00000000", "6923a1c0000000030", "6923a1c00000000g", "0x23a1c000000003", "+923a1c000000003",
		"-923a1c000000003", "6923_1c000000003", " 923a1c000000003", "6923a1c0000000é",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q was read as %s", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("6923a1c000000003")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := Parse(text); err == nil && got.String() != strings.ToLower(text) {
			t.Fatalf("%q was read as %s", text, got)
		}
	})
}
