package webui

import (
	"net/http"
	"strings"
)

// secure sets the headers that limit what a page may do in the browser. Everything is
// forbidden that the page does not need.
func secure(header http.Header, view *View) {
	forms, referrer := view.Forms || view.SignOut != "", "no-referrer"
	if forms {
		// With no-referrer a browser sends "Origin: null" with the form (Fetch, "append a
		// request Origin header"), and the server could not know where it comes from.
		referrer = "same-origin"
	}
	policy := []string{
		"default-src 'none'", "style-src 'self'", "img-src 'self'",
		"base-uri 'none'", "frame-ancestors 'none'", "form-action " + allowed(forms),
		"script-src " + allowed(view.Script != ""), "connect-src " + allowed(view.Script != ""),
	}
	header.Set("Content-Security-Policy", strings.Join(policy, "; "))
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Referrer-Policy", referrer)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
}

func allowed(self bool) string {
	if self {
		return "'self'"
	}
	return "'none'"
}
