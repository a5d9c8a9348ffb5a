package keytail

import (
	"fmt"
	"io"
)

// Secret is bytes that are not shown when they are printed, logged or marshalled as a
// text: a Config can be. A []byte can be assigned to it.
type Secret []byte

// hidden is what is shown instead of a secret.
const hidden = "[hidden]"

// Format writes the same text for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText returns the same text for every secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
