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
		defer l.requests.Add(-1)
		if l.requests.Add(1) > int64(l.config.Limit) {
			l.logBusy()
			busy.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
		if r.ProtoMajor > 1 {
			// Otherwise the server would send the rest of the answer when the request is
			// no longer counted. It fails if the client is gone.
			_ = http.NewResponseController(w).Flush()
		}
	})
}

func (l *Listener) logBusy() {
	l.metrics.busy.Inc()
	if skipped, ok := l.busyLines.Allow(time.Now()); ok {
		l.config.Logger.Warn("the listener has as many requests in progress as it may have connections, and others are refused with 503: if these are your own clients, raise the limit of open files (ulimit -n), or --max-connections if it is set",
			zap.Int("limit", l.config.Limit), zap.Int("times_since_last_line", skipped+1))
	}
}
