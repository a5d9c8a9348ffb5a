package nemesis

import (
	"fmt"
	"slices"

	"github.com/keytail/keytail/internal/apikey"
)

// DeclareUnrecorded declares a key whose writes are not recorded. The allowed answers
// and UNAVAILABLE are correct at any time, every other answer is a violation. Such
// keys are not checked as registers.
func (h *History) DeclareUnrecorded(key string, allowed ...apikey.Code) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.unrecorded[key] = allowed
}

// checkUnrecorded checks an answer if the key is an unrecorded one.
func (h *History) checkUnrecorded(a Answer) (found []Violation, unrecorded bool) {
	allowed, unrecorded := h.unrecorded[a.Key]
	if unrecorded && a.Code != apikey.Unavailable && !slices.Contains(allowed, a.Code) {
		found = append(found, Violation{Answer: a, Rule: FalseAge, Why: fmt.Sprintf("only %v is possible at any time", allowed)})
	}
	return found, unrecorded
}
