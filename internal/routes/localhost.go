package routes

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// OnlyLocalNames refuses requests whose Host header is a name of another machine. It is
// for listeners on a loopback address: a web page whose name resolves to 127.0.0.1 (DNS
// rebinding) could otherwise let the browser of somebody on this machine read them.
// Such a page has a name, so every IP address is allowed, and so is a request without
// Host, which no browser sends.
func OnlyLocalNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLocalName(r.Host) {
			next.ServeHTTP(w, r)
			return
		}
		answerOutside(w, r, api.CodeWrongHost,
			"this listener is for this machine alone: use localhost or an IP address in the URL, or let your proxy set the Host header to localhost")
	})
}

// isLocalName reports whether host, with or without a port, is empty, an IP address,
// localhost, or a name below localhost (RFC 6761, section 6.3).
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil
}

// Busy answers a request that the listener has no room for.
func Busy(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(forwardauth.HeaderRetryAfter, "1")
	answerOutside(w, r, api.CodeTooManyWaiting, "this listener has as many requests in progress as it may have, try again")
}

// answerOutside is writeProblem for a request that does not reach an engine.
func answerOutside(w http.ResponseWriter, r *http.Request, code api.ProblemCode, detail string) {
	header := w.Header()
	header["Cache-Control"], header[headerSniffing] = noStore, noSniff
	header.Set(forwardauth.HeaderRequestID, forwardauth.RequestID(r, forwardauth.DefaultKeySources()))
	header.Set("Content-Type", api.ProblemType)
	w.WriteHeader(code.Status())
	_, _ = w.Write(forwardauth.Body(code.Status(), string(code), detail))
}
