// Package hidden is an internal package.
package hidden

// Type is an internal type.
type Type struct{}

// Method returns an internal type.
func (Type) Method() *Type { return nil }

// Pair is a generic type.
type Pair[T any] struct{ A, B T }

// Name is a constant.
const Name = "name"

// ErrHidden is an error.
var ErrHidden error
