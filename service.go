package keytail

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/coreauth"
	"github.com/keytail/keytail/internal/service"
)

// Service validates API keys. Create it with New: the zero value does not work. It is
// safe for concurrent use.
type Service struct {
	core    *service.Service
	metrics *registrations
}

var _ auth.RevocationWatcher = (*Service)(nil)

// New creates a Service and checks that keytail can keep its guarantees with this
// collection, which takes at most 15 s. It starts nothing. The error says what to do:
// either it names every mistake in the fields of Config, one a line, or what is wrong
// with the database. After an error nothing is left, so New can be called again.
func New(ctx context.Context, config Config) (*Service, error) {
	if err := config.check(); err != nil {
		return nil, inFields(err)
	}
	metrics := newRegistrations(config.Registerer)
	internal := config.internal()
	internal.Registerer = metrics
	core, err := service.New(ctx, internal)
	if err != nil {
		metrics.unregister()
		return nil, inFields(err)
	}
	return &Service{core, metrics}, nil
}

// Run follows the change stream until ctx ends, and returns nil when everything has
// stopped. Until it runs, no answer comes from the cache: each request reads the
// database. It can be called once. Let it stop after the last request: it writes the
// last uses of keys then. An error is a failure that Run cannot mend: end the program,
// or create a new Service.
func (s *Service) Run(ctx context.Context) error {
	err := s.core.Run(ctx)
	if !errors.Is(err, service.ErrStarted) {
		s.metrics.unregister()
	}
	return inFields(err)
}

// Validate decides whether the request may go ahead with this key, as auth.Validator
// says. The verdict's Key is shared with other requests: only read it.
func (s *Service) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	return s.validator().Validate(ctx, key, request)
}

// Authenticate is auth.Authenticate with this service: Gin middleware that lets
// requests pass that have a valid key. It panics immediately if an option is invalid.
func (s *Service) Authenticate(opts ...auth.Option) gin.HandlerFunc {
	return auth.Authenticate(s, opts...)
}

// Middleware is Authenticate for net/http.
func (s *Service) Middleware(opts ...auth.Option) func(http.Handler) http.Handler {
	return auth.Middleware(s, opts...)
}

// Mark implements auth.RevocationWatcher.
func (s *Service) Mark() uint64 { return s.validator().Mark() }

// Watch implements auth.RevocationWatcher.
func (s *Service) Watch(request auth.WatchRequest) auth.Watch { return s.validator().Watch(request) }

func (s *Service) validator() coreauth.Validator { return coreauth.Validator{Core: s.core} }

// Live is closed when the service is live for the first time.
func (s *Service) Live() <-chan struct{} { return s.core.Live() }

// Drain makes Status report not ready from now on, and ends calls of Sync, as if
// their time were up. Everything else continues. Call it when the program begins to stop, so that
// load balancers send no more requests.
func (s *Service) Drain() { s.core.Drain() }
