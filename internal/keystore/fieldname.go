package keystore

import (
	"regexp"
	"strings"
)

// identifier is what a program calls a field: letters, with digits in one place at
// most. A document can also be keyed by data, which must not be shown.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z_-]*[0-9]{0,3}[A-Za-z_-]*$`)

const (
	// maxFieldName is the longest name, in bytes, and maxCapitals how many capitals
	// one with small letters has.
	maxFieldName = 40
	maxCapitals  = 6
)

// CanBeFieldName reports whether a name can be that of a field and not data: some
// documents have ids, addresses or even keys as names, which nobody must see.
func CanBeFieldName(name string) bool {
	capitals := len(strings.Map(func(r rune) rune {
		if r < 'A' || r > 'Z' {
			return -1
		}
		return r
	}, name))
	return len(name) <= maxFieldName && identifier.MatchString(name) && (capitals <= maxCapitals || name == strings.ToUpper(name))
}
