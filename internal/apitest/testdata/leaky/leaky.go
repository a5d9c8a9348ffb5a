// Package leaky has internal names in its API.
package leaky

import "github.com/keytail/keytail/internal/apitest/testdata/internal/hidden"

type (
	// Alias leaks.
	Alias = hidden.Type
	// Field leaks in a field.
	Field struct {
		Exported map[string][]*hidden.Type
		private  hidden.Type
	}
	// Embedded leaks by a promoted method.
	Embedded struct{ inner }
	inner    struct{ hidden.Type }
	// Interface leaks in a method.
	Interface interface{ Method(chan hidden.Type) }
	// Func leaks in a parameter.
	Func func(...hidden.Type)
	// Private does not leak.
	Private struct{ value hidden.Type }
	// Recursive does not leak, and the walk ends.
	Recursive struct{ Next *Recursive }
)

// Method leaks in a result.
func (Private) Method() (int, hidden.Pair[int]) { return 0, hidden.Pair[int]{} }

// Function leaks in a type argument.
func Function(func(Generic[hidden.Type])) {}

// Generic does not leak.
type Generic[T any] struct{ Value T }

// Constant leaks in its initializer.
const Constant = "a " + hidden.Name

// Variable leaks.
var Variable = hidden.Type{}

// ErrFine does not leak: its type is error.
var ErrFine = hidden.ErrHidden

const unexported = hidden.Name
