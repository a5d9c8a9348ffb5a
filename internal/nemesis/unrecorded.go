package nemesis

import "github.com/keytail/keytail/internal/apikey"

// DeclareUnrecorded declares a key whose writes are not recorded. The allowed answers
// and UNAVAILABLE are possible at any time, every other answer is a violation. Such
// keys are not checked as registers.
func (h *History) DeclareUnrecorded(key string, allowed ...apikey.Code) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.unrecorded[key] = allowed
}

// spansOf returns the spans of a key.
func (h *History) spansOf(key string) (all []span) {
	allowed, unrecorded := h.unrecorded[key]
	if !unrecorded {
		return spans(h.writes[key])
	}
	for _, state := range allowed {
		all = append(all, span{state: state})
	}
	return all
}
