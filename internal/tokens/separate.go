package tokens

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
)

// separation keeps two sets from having a token in common.
type separation struct {
	// mutex: the two files may be read again at the same time.
	mutex *sync.Mutex
	other *Set
}

// Separate requires that no token is in both sets, because it would give the callers of
// one listener the rights of the other: now, which is the error, and whenever one of the
// files changes. Call it before Run. A nil set has no tokens.
func Separate(a, b *Set) error {
	if a == nil || b == nil {
		return nil
	}
	mutex := &sync.Mutex{}
	a.apart, b.apart = &separation{mutex, b}, &separation{mutex, a}
	return a.checkSeparate(*a.entries.Load())
}

// checkSeparate names the first token of entries that the other set has. It needs the
// mutex, except before Run.
func (s *Set) checkSeparate(entries []entry) error {
	if s.apart == nil {
		return nil
	}
	names := map[[sha256.Size]byte]string{}
	for _, e := range *s.apart.other.entries.Load() {
		names[e.hash] = e.identity.Name
	}
	var mistakes []error
	for _, e := range entries {
		if name, found := names[e.hash]; found && e.hash != ([sha256.Size]byte{}) {
			mistakes = append(mistakes, fmt.Errorf("--%s: the token of %s is also that of %s in the file of --%s: every caller would be an administrator, so give each a token of its own",
				s.config.Flag, e.identity.Name, name, s.apart.other.config.Flag))
		}
	}
	return errors.Join(mistakes...)
}
