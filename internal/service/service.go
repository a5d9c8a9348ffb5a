package service

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/fleet"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/revocation"
	"github.com/keytail/keytail/internal/tracing"
	"github.com/keytail/keytail/internal/usage"
	"github.com/keytail/keytail/internal/validator"
)

// PrepareTimeout bounds the checks of the database at start: a wrong address shows
// within seconds.
const PrepareTimeout = 15 * time.Second

// ErrStarted says that Run was called before.
var ErrStarted = errors.New("the service is running or was stopped: create a new one")

// Service is the core of one instance. The exported fields do not change after
// Prepare.
type Service struct {
	// Config has its defaults filled in.
	Config      Config
	Cache       *keycache.Cache
	Store       *keystore.Store
	Heartbeater *changestream.Heartbeater
	Fleet       *fleet.Fleet
	Events      *events.Hub
	Watches     *revocation.Watches
	Tail        *changestream.Tail
	Validator   *validator.Validator
	// Usage is nil if the use of keys is not written.
	Usage *usage.Recorder

	sink    sink
	index   *keystore.IndexWatch
	loader  *preload.Loader
	health  *health
	running atomic.Bool
}

// New is Wire, and then Prepare.
func New(ctx context.Context, config Config) (*Service, error) {
	s, err := Wire(config)
	if err != nil {
		return nil, err
	}
	return s, s.Prepare(ctx)
}

// Prepare checks the database, and fails if keytail could not keep its guarantees
// with it. The error describes what to do.
func (s *Service) Prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, PrepareTimeout)
	defer cancel()
	if err := s.Store.Prepare(ctx, s.Config.EnsureSchema); err != nil {
		return err
	}
	if err := s.Heartbeater.Prepare(ctx); err != nil {
		return err
	}
	if err := s.Tail.CheckAccess(ctx); err != nil {
		return err
	}
	s.prepareUsage(ctx)
	return nil
}

// prepareUsage turns the writing of usage off if the credential may not, and logs
// that once.
func (s *Service) prepareUsage(ctx context.Context) {
	if s.Usage == nil {
		return
	}
	switch err := s.Usage.Prepare(ctx); {
	case errors.Is(err, keystore.ErrUnauthorized):
		s.Config.Logger.Warn("the usage of keys is not written", zap.Error(err))
		s.Usage = nil
	case err != nil:
		// Answers do not depend on it, and the next attempt may succeed.
		s.Config.Logger.Warn("it is not known yet whether the usage of keys can be written", zap.Error(err))
	}
}

// Record records one use of a key. The validator calls it; Prepare may have turned
// the writing of usage off since the two were connected.
func (s *Service) Record(id apikey.DocID, at time.Time) {
	if s.Usage != nil {
		s.Usage.Record(id, at)
	}
}

// LastScan is how long the last complete scan took, zero if there was none. The tail
// reads this: catching up may take twice as long.
func (s *Service) LastScan() time.Duration { return s.loader.LastScan() }

// Run follows the change stream until ctx ends, and returns nil when everything has
// stopped. Until it runs, nothing is answered from the cache: each request reads the
// database. It can be called once.
//
// The functions in with run until the tail stops; an error of one of them stops the service.
func (s *Service) Run(ctx context.Context, with ...func(context.Context) error) error {
	if s.running.Swap(true) {
		return ErrStarted
	}
	ctx = tracing.WithWork(ctx, s.Config.TracerProvider)
	// The heartbeat stops last: while its document exists, the fleet counts on this instance, and
	// after that nothing may be answered from its cache.
	beating, stopHeartbeat := context.WithCancel(context.WithoutCancel(ctx))
	heartbeat := make(chan error, 1)
	go func() { heartbeat <- s.Heartbeater.Run(beating) }()
	// The last uses of keys are written before the tail stops, because answers stay
	// fresh while that takes its time.
	tailing, stopTail := context.WithCancel(context.WithoutCancel(ctx))
	group, tailing := errgroup.WithContext(tailing)
	for _, run := range append([]func(context.Context) error{
		s.Tail.Run, s.Validator.RunRefresh, s.loader.Run, s.index.Run, s.health.run, s.Fleet.Run, s.Watches.Run,
	}, with...) {
		group.Go(func() error { return run(tailing) })
	}
	group.Go(func() error {
		defer stopTail()
		return s.writeUsage(ctx, tailing)
	})
	err := group.Wait()
	s.Events.Close()
	s.Cache.Lose()
	stopHeartbeat()
	return errors.Join(err, <-heartbeat)
}

// writeUsage writes the use of keys until ctx ends, or failed does because another
// part has failed, and once more then.
func (s *Service) writeUsage(ctx, failed context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(failed, cancel)()
	if s.Usage == nil {
		<-ctx.Done()
		return nil
	}
	return s.Usage.Run(ctx)
}

// Live is closed when the service is live for the first time.
func (s *Service) Live() <-chan struct{} { return s.health.firstLive }

// Drain makes Status report not ready from now on, and ends what could last longer
// than a shutdown: streams of events, whose clients continue at another instance,
// and waits for a revision, as if their time were up. Everything else continues.
func (s *Service) Drain() {
	s.health.draining.Store(true)
	s.Events.Close()
	s.Fleet.Close()
}

// Status is the state of the service now.
func (s *Service) Status() Status { return s.health.status() }
