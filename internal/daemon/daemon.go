package daemon

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/decisionlog"
	"github.com/keytail/keytail/internal/extauthz"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/keyadmin"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/playground"
	"github.com/keytail/keytail/internal/reload"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/serverspan"
	"github.com/keytail/keytail/internal/service"
	"github.com/keytail/keytail/internal/tokens"
)

// Daemon is the core and the handlers of its listeners.
type Daemon struct {
	// Core validates the keys.
	Core *service.Service

	settings   settings
	requests   *instrument.Requests
	tracer     *serverspan.Tracer // nil without a TracerProvider
	details    *details
	decisions  *decisionlog.Log       // nil without a decision log
	keys       *keyadmin.Admin        // nil without admin tokens
	refusals   *keyadmin.Refusals     // nil without admin tokens
	playground *playground.Playground // nil without --dev
	public     http.Handler
	operations http.Handler
	admin      http.Handler // nil without admin tokens
	extauthz   *extauthz.Server
}

// New creates a Daemon and checks the database. It starts nothing. The error describes what to do;
// mistakes of the configuration are all reported together.
func New(ctx context.Context, config Config) (*Daemon, error) {
	d, err := wire(&config)
	if err != nil {
		return nil, err
	}
	if err := d.Core.Prepare(ctx); err != nil {
		return nil, err
	}
	if d.keys, err = d.newKeys(ctx, config.AdminAuditReads); err != nil {
		return nil, err
	}
	if err := d.openDecisionLog(config.DecisionLog); err != nil {
		return nil, err
	}
	return d, errors.Join(d.newHandlers(&config), d.newExtAuthz(&config))
}

// openDecisionLog opens the decision log, if there is one.
func (d *Daemon) openDecisionLog(config decisionlog.Config) error {
	if config.Path == "" {
		return nil
	}
	core := &d.Core.Config
	config.Instance, config.Logger, config.Registerer = d.Core.Heartbeater.ID(), core.Logger, core.Registerer
	var err error
	if d.decisions, err = decisionlog.New(config); err == nil {
		d.settings.forward.Decisions = d.decisions // not before: a nil *Log is a DecisionLog, too
	}
	return err
}

// wire creates what needs no database.
func wire(config *Config) (*Daemon, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Registry == nil {
		config.Registry = prometheus.NewRegistry()
	}
	config.Registerer = config.Registry
	settings, settingsErr := config.settings()
	core, err := service.Wire(config.Config)
	requests, requestsErr := instrument.NewRequests(config.Registry)
	if err := errors.Join(settingsErr, err, requestsErr); err != nil {
		return nil, err
	}
	settings.forward.Validator = core.Validator
	details, err := newDetails(config, core)
	return &Daemon{
		Core: core, settings: settings, requests: requests, details: details,
		tracer: serverspan.New(config.TracerProvider, settings.traceCallers),
	}, err
}

// newKeys creates the administration of keys, or nil without admin tokens. It fails
// if the credential may not write.
func (d *Daemon) newKeys(ctx context.Context, auditReads bool) (*keyadmin.Admin, error) {
	if d.settings.admins == nil {
		return nil, nil //nolint:nilnil // off, and no error
	}
	config := &d.Core.Config
	keys, err := keyadmin.New(keyadmin.Config{
		Store:        d.Core.Store,
		Validator:    d.Core.Validator,
		Audit:        mongoclient.Database(config.Client, config.StateDatabase).Collection(keyadmin.CollectionName),
		Prefix:       config.KeyPrefix,
		EnsureSchema: config.EnsureSchema,
		AuditReads:   auditReads,
		Logger:       config.Logger,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, service.PrepareTimeout)
	defer cancel()
	return keys, keys.Prepare(ctx)
}

// newHandlers creates the handlers of the three HTTP listeners.
func (d *Daemon) newHandlers(config *Config) error {
	public := routes.PublicConfig{
		Config: d.settings.forward, AuthCallers: d.settings.authCallers, NoForwardAuth: config.DisableForwardAuth,
		Logger: config.Logger, Syncer: d.Syncer(), Events: d.Events(), OpenPerToken: config.OpenPerToken,
		Tracer: d.tracer, Requests: d.requests,
	}
	if d.settings.callers != nil {
		public.Callers = d.settings.callers
	}
	var err error
	if d.public, err = routes.NewPublic(public); err != nil {
		return err
	}
	d.operations, err = routes.NewOperations(routes.OperationsConfig{
		Status: d.status, Gatherer: config.Registry, Requests: d.requests, Logger: config.Logger,
	})
	if err != nil || d.settings.admins == nil {
		return err
	}
	d.refusals = d.keys.Refusals()
	admin := routes.AdminConfig{
		Callers:  d.settings.admins,
		Status:   d.status,
		Details:  d.details.read,
		Syncer:   d.Syncer(),
		Events:   d.AdminEvents(),
		Keys:     d.keys,
		LogLevel: config.LogLevel,
		Refusals: d.refusals,
		Instance: d.Core.Heartbeater.ID(),
		Version:  d.Core.Config.Version,
		Tracer:   d.tracer,
		Requests: d.requests,
		Logger:   config.Logger,

		OpenPerToken: config.AdminOpenPerToken,
	}
	if config.Playground != nil {
		if d.playground, err = d.newPlayground(*config.Playground); err != nil {
			return err
		}
		admin.Playground = d.playground // not before: a nil pointer is a Playground, too
	}
	d.admin, err = routes.NewAdmin(admin)
	return err
}

// newPlayground makes the playground on the core that serves the listeners.
func (d *Daemon) newPlayground(config playground.Config) (*playground.Playground, error) {
	config.Validator, config.MaxStale = d.Core.Validator, d.Core.Config.MaxStale
	config.State = func() playground.State {
		s := d.Core.Status()
		return playground.State{Name: string(s.State), Staleness: s.Staleness}
	}
	return playground.New(config)
}

// newExtAuthz creates the server of the gRPC listener.
func (d *Daemon) newExtAuthz(config *Config) error {
	forward := d.settings.forward
	forward.Operation, forward.TraceID = forwardauth.OperationExtAuthz, serverspan.TraceID
	forward.RemovesAbsent = true
	authority, err := forwardauth.New(forward)
	if err != nil {
		return err
	}
	d.extauthz, err = extauthz.New(extauthz.Config{
		Authority:       authority,
		HideCredentials: config.HideCredentials,
		Reflection:      config.GRPCReflection,
		Live:            d.Live(),
		Tracer:          d.tracer,
		Requests:        d.requests,
		Logger:          config.Logger,
	})
	return err
}

// Run runs the core until ctx ends, and returns nil when everything has stopped. It
// can be called once.
func (d *Daemon) Run(ctx context.Context) error {
	follow := []func(context.Context) error{d.details.past.Run}
	for _, set := range d.tokens() {
		follow = append(follow, set.Run)
	}
	if d.keys != nil {
		follow = append(follow, d.keys.Run, d.refusals.Run)
	}
	if d.decisions != nil {
		follow = append(follow, d.decisions.Run)
	}
	if d.playground != nil {
		follow = append(follow, d.playground.Run)
	}
	return d.Core.Run(ctx, follow...)
}

// tokens are those of the token files.
func (d *Daemon) tokens() []*tokens.Set {
	return slices.DeleteFunc([]*tokens.Set{d.settings.callers, d.settings.admins}, func(set *tokens.Set) bool { return set == nil })
}

// Files are the token files, which Run reads again when they change.
func (d *Daemon) Files() []*reload.Files {
	var all []*reload.Files
	for _, set := range d.tokens() {
		all = append(all, set.Files())
	}
	return all
}

// ReopenLogs opens the files of logs again, after a program that rotates logs has renamed
// them, and returns whether there is one. The log has the result.
func (d *Daemon) ReopenLogs() bool {
	if d.decisions == nil {
		return false
	}
	return d.decisions.Reopen()
}

// Public is the handler of the public listener: verify and forward-auth.
func (d *Daemon) Public() http.Handler { return d.public }

// Operations is the handler of the operations listener: readyz and metrics.
func (d *Daemon) Operations() http.Handler { return d.operations }

// Admin is the handler of the admin listener: the status page and the API of keys.
// Nil without an AdminTokenFile.
func (d *Daemon) Admin() http.Handler { return d.admin }

// ExtAuthz answers Envoy's ext_authz filter over gRPC, with a health service that
// reports what readyz reports: its Serve takes a listener, its Shutdown ends that.
// Nothing listens before.
func (d *Daemon) ExtAuthz() *extauthz.Server { return d.extauthz }

// Live is closed when the core is live for the first time.
func (d *Daemon) Live() <-chan struct{} { return d.Core.Live() }

// Drain makes readyz answer 503 and the gRPC health NOT_SERVING from now on, and ends
// streams of events and waits for a revision. Everything else continues.
func (d *Daemon) Drain() {
	d.Core.Drain()
	d.extauthz.Drain()
}
