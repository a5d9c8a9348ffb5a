package rights

import (
	"testing"
)

func TestRolesIncludeTheOnesBefore(t *testing.T) {
	t.Parallel()
	all := []Role{None, Viewer, Operator, Admin}
	for i, have := range all {
		for j, needed := range all {
			if got, want := have.Includes(needed), needed != None && i >= j; got != want {
				t.Errorf("%v for what needs %v: %v", have, needed, got)
			}
		}
		if parsed, err := ParseRole(have.String()); parsed != have || (err == nil) != (have != None) {
			t.Errorf("%v is read as %v, %v", have, parsed, err)
		}
	}
	for _, text := range []string{"", "Admin", "root", "viewer ", "none"} {
		if role, err := ParseRole(text); role != None || err == nil {
			t.Errorf("%q is the role %v, %v", text, role, err)
		}
	}
}
