package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/service"
	"github.com/keytail/keytail/internal/tokens"
)

type serveCommand struct {
	config.Config
}

// process is what a command needs of its process.
type process struct {
	stdout, stderr io.Writer
	deps           Deps
	given          config.Given
}

// run serves until ctx ends. wrong is what the parser found; it is reported with
// all other mistakes in the configuration.
func (c *serveCommand) run(ctx context.Context, p process, wrong error) int {
	c.Complete(p.given)
	if err := errors.Join(wrong, c.check(p)); err != nil {
		return usage(p.stderr, err)
	}
	logger, err := newLogger(&c.Config, p.stderr)
	if err != nil {
		return usage(p.stderr, err)
	}
	err = (&serveRun{process: p, cfg: &c.Config, log: logger}).run(ctx)
	_ = logger.Sync() // stderr cannot be synced on every system
	if err != nil && !stopped(ctx, err) {
		return fail(p.stderr, exitFailure, err)
	}
	return exitOK
}

// check adds the checks of other packages to those of the configuration.
func (c *serveCommand) check(p process) error {
	_, sources := forwardauth.ParseKeySources(c.KeySources)
	_, proxies := forwardauth.ParseTrustedProxies(c.TrustedProxies)
	schema := schemaOf(&c.Config)
	mapping := schema.CheckMapping()
	mistakes := []error{c.Check(), sources, proxies, mapping}
	if c.Dev && p.deps.NewDev == nil {
		mistakes = append(mistakes, errors.New("this binary was built without the in-memory MongoDB of --dev"))
	}
	if mistakes[0] == nil && !c.Dev {
		mistakes = append(mistakes, checkURI(c.MongoDBURI))
	}
	if mistakes[0] == nil {
		mistakes = append(mistakes, checkFiles(&c.Config))
	}
	return errors.Join(mistakes...)
}

// checkFiles reads every file in the settings, so that a mistake in one is
// reported before anything starts. They are read again when they are used.
func checkFiles(cfg *config.Config) error {
	var mistakes []error
	for _, l := range cfg.Listeners() {
		_, err := newCertificates(l, zap.NewNop(), nil)
		mistakes = append(mistakes, err)
	}
	for _, file := range []tokens.Config{
		{Path: cfg.CallerTokenFile, Flag: "caller-token-file"},
		{Path: cfg.AdminTokenFile, Flag: "admin-token-file", Rights: true, Certificates: hasAdminCertificates(cfg)},
	} {
		if file.Path != "" {
			_, err := tokens.New(file)
			mistakes = append(mistakes, err)
		}
	}
	_, err := databaseURI(cfg)
	return errors.Join(append(mistakes, err, checkHash(cfg))...)
}

// hasAdminCertificates reports whether clients of the admin listener present
// certificates.
func hasAdminCertificates(cfg *config.Config) bool { return cfg.AdminTLS.ClientCAFile != "" }

// serveRun is one run of serve.
type serveRun struct {
	process
	cfg *config.Config
	log *zap.Logger
	// hangups receives SIGHUP.
	hangups <-chan os.Signal
	// inTerminal: standard input was a terminal at the start. It is none any more
	// when its window has been closed.
	inTerminal bool
	// moved are the addresses of --dev that were in use.
	moved []move
	// madeToken is the admin token that --dev has made. Empty: none.
	madeToken string
}

// run starts everything in order (ARCHITECTURE.md) and stops it in reverse order:
// everything that a deferred call needs is still running then.
func (d *serveRun) run(ctx context.Context) error {
	var stopNotify func()
	d.hangups, stopNotify = notifyHangup()
	defer stopNotify()
	d.inTerminal = isTTY(d.stdin())
	d.announce()
	uri, err := databaseURI(d.cfg)
	if err != nil {
		return err
	}
	var dev *devServer
	if d.cfg.Dev {
		if dev, err = d.startDev(); err != nil {
			return err
		}
		defer dev.stop()
		uri = dev.URI()
		removeToken, err := d.makeAdminToken()
		if err != nil {
			return err
		}
		defer removeToken()
	}
	to, err := connect(ctx, uri, d.log)
	if err != nil {
		return err
	}
	defer disconnect(to.client, d.log)
	service, err := d.newService(ctx, to)
	if err != nil {
		return to.Explain(err)
	}
	if dev != nil {
		if err := loadSamples(ctx, mongoclient.Database(to.client, d.cfg.Database).Collection(d.cfg.Collection)); err != nil {
			return err
		}
	}
	listeners, err := d.listen(ctx, service)
	if err != nil {
		return err
	}
	return d.supervise(ctx, parts{service: service, listeners: listeners, dev: dev})
}

// announce logs the start, with the names of the settings and not their values,
// which may be secret.
func (d *serveRun) announce() {
	d.log.Info("starting", zap.String("version", serviceVersion(d.deps)), zap.Strings("given", d.given.Names()),
		zap.String("database", d.cfg.Database), zap.String("collection", d.cfg.Collection))
	if !config.Loopback(d.cfg.Addr) && d.cfg.CallerTokenFile == "" {
		d.log.Warn("the public listener is reachable from other machines, and anyone who can connect may validate keys: set --caller-token-file, or allow only your own services and proxies to connect",
			zap.String("addr", d.cfg.Addr))
	}
	if d.cfg.GRPCAddr != "" && !config.Loopback(d.cfg.GRPCAddr) && d.cfg.GRPCTLS.ClientCAFile == "" {
		d.log.Warn("the gRPC listener is reachable from other machines, and anyone who can connect may validate keys for any client address: set --grpc-tls-client-ca-file, or allow only Envoy to connect",
			zap.String("grpc_addr", d.cfg.GRPCAddr))
	}
}

func (d *serveRun) newService(ctx context.Context, to database) (Service, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := d.deps.NewService
	if build == nil {
		build = func(ctx context.Context, cfg daemon.Config) (Service, error) { return daemon.New(ctx, cfg) }
	}
	cfg, err := daemonConfig(d.cfg, to, serviceVersion(d.deps))
	if err != nil {
		return nil, err
	}
	cfg.Logger, cfg.Registry = d.log, registry
	return build(ctx, cfg)
}

// daemonConfig is the configuration of package daemon by the settings of serve.
func daemonConfig(cfg *config.Config, to database, version string) (daemon.Config, error) {
	secret, err := hashSecret(cfg)
	if err != nil {
		return daemon.Config{}, err
	}
	usage := service.UsageWrite
	if !cfg.TrackUsage {
		usage = service.UsageOff
	}
	return daemon.Config{
		Config: service.Config{
			Client:            to.client,
			Database:          cfg.Database,
			Schema:            schemaOf(cfg),
			HashSecret:        secret,
			EnsureSchema:      cfg.EnsureSchema,
			StreamScope:       changestream.Scope(cfg.StreamScope),
			StateDatabase:     cfg.StateDatabase,
			MaxStale:          cfg.MaxStale,
			HeartbeatInterval: cfg.HeartbeatInterval,
			MaxReads:          to.MaxReads,
			CacheSizeMiB:      cfg.CacheSize,
			Preload:           preload.Mode(cfg.Preload),
			AuditInterval:     cfg.AuditInterval,
			ExpiryNotice:      cfg.ExpiryNotice,
			KeyPrefix:         cfg.KeyPrefix,
			RequireBinding:    cfg.RequireBinding,
			Usage:             usage,
			Version:           version,
		},
		KeySources:      cfg.KeySources,
		TrustedProxies:  cfg.TrustedProxies,
		Policies:        policies(cfg.Policies),
		HideCredentials: cfg.HideCredentials,
		CallerTokenFile: cfg.CallerTokenFile,
		AdminTokenFile:  cfg.AdminTokenFile,

		AdminCertificates: hasAdminCertificates(cfg),
		AdminAuditReads:   cfg.AdminAuditReads,
	}, nil
}

// policies are those of the configuration for forward-auth.
func policies(of map[string]config.Policy) map[string]forwardauth.Policy {
	all := make(map[string]forwardauth.Policy, len(of))
	for name, policy := range of {
		all[name] = forwardauth.Policy(policy)
	}
	return all
}

// bind reads the certificates and binds the addresses of all listeners, in the
// order of config.Listeners.
func (d *serveRun) bind(ctx context.Context) (listeners, error) {
	var all listeners
	var mistakes []error
	for _, l := range d.cfg.Listeners() {
		certificates, err := newCertificates(l, d.log.Named("tls"), nil)
		mistakes = append(mistakes, err)
		bound, err := d.bindOne(ctx, l)
		mistakes = append(mistakes, err)
		all = append(all, listener{Listener: bound, name: l.Name, flag: l.Flag, certificates: certificates})
	}
	if err := errors.Join(mistakes...); err != nil {
		all.close()
		return nil, err
	}
	return all, nil
}

// listen binds the listeners and assigns the handlers of the service.
func (d *serveRun) listen(ctx context.Context, service Service) (listeners, error) {
	all, err := d.bind(ctx)
	if err != nil {
		return nil, err
	}
	handlers := map[string]http.Handler{
		config.Public: service.Public(), config.Operations: service.Operations(), config.Admin: service.Admin(),
	}
	for i := range all {
		if l := &all[i]; l.name == config.GRPC {
			l.serveBy(service.ExtAuthz())
		} else {
			l.handle(handlers[l.name], d.log)
		}
	}
	return all, nil
}
