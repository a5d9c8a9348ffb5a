package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
)

// watchdogParts is how many checks fit into systemd's watchdog interval, so that one
// that is late on a busy machine does not end the process.
const watchdogParts = 3

// notifySystemd sends a message by the protocol sd_notify to the service manager
// that started the process (deploy/systemd/keytail.service). Without one it does
// nothing.
func notifySystemd(logger *zap.Logger, message string) {
	if _, err := daemon.SdNotify(false, message); err != nil {
		logger.Warn("systemd cannot be notified: the unit needs Type=notify, and AF_UNIX in RestrictAddressFamilies",
			zap.String("message", message), zap.Error(err))
	}
}

// watchdog notifies systemd regularly until ctx ends, if the unit has WatchdogSec.
func (d *serveRun) watchdog(ctx context.Context, operations http.Handler) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("systemd's watchdog is not used: WATCHDOG_USEC and WATCHDOG_PID cannot be read", zap.Error(err))
	}
	if interval <= 0 {
		return nil
	}
	ticker := time.NewTicker(interval / watchdogParts)
	defer ticker.Stop()
	return d.watch(ctx, ticker.C, operations)
}

// watch notifies systemd now and after each tick, each time after a request to
// readyz, whatever its answer is: the state of MongoDB must not end the process. The
// answer needs the locks of the whole service, so a deadlock ends the
// notifications, and systemd the process: it writes all goroutines to stderr and
// is started again. The request does not pass the listener, as a limit or a
// certificate there says nothing about the process.
func (d *serveRun) watch(ctx context.Context, ticks <-chan time.Time, operations http.Handler) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api.PathReady, http.NoBody)
	if err != nil {
		return err
	}
	for {
		operations.ServeHTTP(discard{}, request)
		notifySystemd(d.log.Logger, daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
	}
}

// discard is a response that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
