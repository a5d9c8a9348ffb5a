package nemesis

import (
	"fmt"
	"slices"

	"github.com/keytail/keytail/internal/apikey"
)

// Loose declares a key whose writes are not recorded. Each of these answers may
// be given for it at any time, and no other one (UNAVAILABLE aside). Loose keys
// are not checked as registers.
func (h *History) Loose(key string, allowed ...apikey.Code) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.loose[key] = allowed
}

// checkLoose checks an answer about a loose key; false if the key is not loose.
func (h *History) checkLoose(a Answer) (found []Violation, loose bool) {
	allowed, loose := h.loose[a.Key]
	if loose && a.Code != apikey.Unavailable && !slices.Contains(allowed, a.Code) {
		found = append(found, Violation{Answer: a, Rule: FalseAge, Why: fmt.Sprintf("only %v can be true at any time", allowed)})
	}
	return found, loose
}
