package connlimit

import (
	"net/http"
	"time"

	"go.uber.org/zap"
)

// LimitRequests passes at most as many requests at a time to next as the listener may have
// connections, and the others to busy, which must answer without waiting. Over HTTP/1.1 the
// connections are bound enough; over HTTP/2 a client has many requests on each, and each
// needs memory until it ends, also if the client sends only the half of it, or reads no
// answer.
func (l *Listener) LimitRequests(next, busy http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.BeginRequest() {
			busy.ServeHTTP(w, r)
			return
		}
		defer l.EndRequest()
		next.ServeHTTP(w, r)
		if r.ProtoMajor > 1 {
			// Otherwise the server would send the rest of the answer when the request is
			// no longer counted. It fails if the client is gone.
			_ = http.NewResponseController(w).Flush()
		}
	})
}

// BeginRequest is LimitRequests for other protocols: it reports whether a request may be in
// progress. If it may, EndRequest must follow. If not, it has been counted and logged.
func (l *Listener) BeginRequest() bool {
	if l.requests.Add(1) <= int64(l.config.Limit) {
		return true
	}
	l.requests.Add(-1)
	l.metrics.busy.Inc()
	if skipped, ok := l.busyLines.Allow(time.Now()); ok {
		l.config.Logger.Warn("the listener has as many requests in progress as it may have connections, and others are refused: if these are your own clients, raise the limit of open files (ulimit -n), or --max-connections if it is set",
			zap.Int("limit", l.config.Limit), zap.Int("times_since_last_line", skipped+1))
	}
	return false
}

// EndRequest ends a request.
func (l *Listener) EndRequest() { l.requests.Add(-1) }
