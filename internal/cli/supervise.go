package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/internal/timing"
)

// parts is everything that runs concurrently. dev is nil without --dev.
type parts struct {
	service   Service
	listeners listeners
	dev       *devServer
}

// errEnded: a part that should run until it is stopped returned without an error.
var errEnded = errors.New("it ended unexpectedly")

// supervise runs all parts until ctx ends or one of them fails, stops them in
// order, and returns when all have stopped.
//
// The service does not end with ctx: requests in flight need it until the
// listeners are closed.
func (d *serveRun) supervise(ctx context.Context, p parts) error {
	group, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	serviceCtx, stopService := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return d.runService(serviceCtx, p.service) })
	for _, l := range p.listeners {
		group.Go(l.serve)
		group.Go(func() error { return l.follow(serviceCtx) })
	}
	group.Go(func() error { return d.watchdog(serviceCtx, p.service.Operations()) })
	group.Go(func() error {
		defer stopService()
		return errors.Join(d.wait(ctx, failed, p), d.drain(ctx, failed, p))
	})
	return group.Wait()
}

// runService runs the service until it is stopped.
func (d *serveRun) runService(ctx context.Context, service Service) error {
	err := service.Run(ctx)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	if err == nil {
		err = errEnded
	}
	return fmt.Errorf("the service failed: %w", err)
}

// logReportInterval is the time between two log lines about lines that were left out.
const logReportInterval = time.Minute

// wait returns when the process is requested to stop or a part has failed.
// Meanwhile it reports when keytail can validate keys, and handles SIGHUP.
func (d *serveRun) wait(ctx, failed context.Context, p parts) error {
	live := p.service.Live()
	var devDone <-chan error
	if p.dev != nil {
		devDone = p.dev.done
	}
	report := time.NewTicker(logReportInterval)
	defer report.Stop()
	for {
		select {
		case <-report.C:
			d.log.report()
		case <-ctx.Done():
			d.log.Info("stopping because of a signal", zap.Duration("drain_delay", d.cfg.DrainDelay))
			return nil
		case <-failed.Done():
			return nil // the group has the error
		case err := <-devDone:
			return fmt.Errorf("the in-memory MongoDB stopped: %w", errors.Join(err, errEnded))
		case <-d.hangups:
			if d.hangup(p) {
				return nil
			}
		case <-live:
			live = nil // a closed channel is always ready
			if err := d.logReady(p); err != nil {
				return err
			}
		}
	}
}

// logReady runs once keytail can validate keys.
func (d *serveRun) logReady(p parts) error {
	d.log.Info("serving", p.listeners.fields()...)
	notifySystemd(d.log.Logger, daemon.SdNotifyReady+"\nSTATUS=serving")
	if p.dev == nil {
		return nil
	}
	return d.printGreeting(p)
}

// drain makes the instance unready, waits until proxies have noticed and have
// closed their idle connections, and closes the listeners: the public one first,
// so that operations can be observed meanwhile. After a failure it does not wait.
func (d *serveRun) drain(ctx, failed context.Context, p parts) error {
	notifySystemd(d.log.Logger, daemon.SdNotifyStopping+"\nSTATUS=draining")
	p.listeners.leave()
	p.service.Drain()
	if ctx.Err() != nil {
		timing.Sleep(failed, d.cfg.DrainDelay) // ends early if a listener fails
	}
	// A new context: ctx has ended, and would interrupt requests in flight.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return p.listeners.shutdown(closing)
}
