package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/connlimit"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/decisionlog"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/playground"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/telemetry"
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
	logger.report()
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
	_, identity := forwardauth.ParseIdentity(c.AuthHeaders)
	_, authCallers := forwardauth.ParseNetworks("--auth-caller-networks", c.AuthCallerNetworks)
	_, traceCallers := forwardauth.ParseNetworks("--trace-caller-networks", c.TraceCallerNetworks)
	schema := schemaOf(&c.Config)
	mapping := schema.CheckMapping()
	decisions := decisionlog.Check(c.DecisionLogAccepts, c.DecisionLogMask)
	mistakes := []error{c.Check(), telemetry.Check(), traceCallers, sources, proxies, identity, authCallers, mapping, decisions}
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
		_, err := newCertificates(l, zap.NewNop(), nil, nil)
		mistakes = append(mistakes, err)
	}
	var sets []*tokens.Set
	for _, file := range []tokens.Config{
		{Path: cfg.CallerTokenFile, Flag: "caller-token-file"},
		{Path: cfg.AdminTokenFile, Flag: "admin-token-file", Rights: true, Certificates: hasAdminCertificates(cfg)},
	} {
		if file.Path != "" {
			set, err := tokens.New(file)
			mistakes, sets = append(mistakes, err), append(sets, set)
		}
	}
	if errors.Join(mistakes...) == nil && len(sets) == 2 {
		mistakes = append(mistakes, tokens.Separate(sets[0], sets[1]))
	}
	_, err := databaseURI(cfg)
	return errors.Join(append(mistakes, err, checkHash(cfg), decisionlog.CheckPath(cfg.DecisionLog))...)
}

// hasAdminCertificates reports whether clients of the admin listener present
// certificates.
func hasAdminCertificates(cfg *config.Config) bool { return cfg.AdminTLS.ClientCAFile != "" }

// serveRun is one run of serve.
type serveRun struct {
	process
	cfg *config.Config
	log *logging
	// hangups receives SIGHUP.
	hangups <-chan os.Signal
	// inTerminal: standard input was a terminal at the start. It is none any more
	// when its window has been closed.
	inTerminal bool
	// moved are the addresses of --dev that were in use.
	moved []move
	// madeToken is the admin token that --dev has made. Empty: none.
	madeToken string
	// registry has the metrics of the daemon and of its listeners.
	registry *prometheus.Registry
	// telemetry exports traces.
	telemetry *telemetry.Telemetry
	// connections is how many the listeners may have.
	connections connlimit.Budget
}

// run starts everything in order (ARCHITECTURE.md) and stops it in reverse order:
// everything that a deferred call needs is still running then.
func (d *serveRun) run(ctx context.Context) error {
	var stopNotify func()
	d.hangups, stopNotify = notifyHangup()
	defer stopNotify()
	d.inTerminal = isTTY(d.stdin())
	d.announce()
	if err := d.startTelemetry(ctx); err != nil {
		return err
	}
	defer d.telemetry.Shutdown() // the last one: everything else may end spans
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
	to, err := connect(ctx, uri, d.cfg.ReadPreference, d.telemetry.Monitor(), d.log.Logger)
	if err != nil {
		return err
	}
	defer disconnect(to.client, d.log.Logger)
	if err := d.divideDescriptors(to); err != nil {
		return err
	}
	play, closePlayground, err := d.newPlayground(ctx, dev, to)
	if err != nil {
		return err
	}
	defer closePlayground()
	service, err := d.newService(ctx, to, play)
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
	for _, exposed := range exposures(d.cfg) {
		d.log.Warn(exposed.text, zap.String(config.Key(exposed.flag), exposed.addr))
	}
}

// newService builds the service. A nil play means that it has no playground.
func (d *serveRun) newService(ctx context.Context, to database, play *playground.Config) (Service, error) {
	build := d.deps.NewService
	if build == nil {
		build = func(ctx context.Context, cfg daemon.Config) (Service, error) { return daemon.New(ctx, cfg) }
	}
	cfg, err := daemonConfig(d.cfg, to, serviceVersion(d.deps))
	if err != nil {
		return nil, err
	}
	cfg.Logger, cfg.LogLevel, cfg.Registry, cfg.DecisionLog.Stdout = d.log.Logger, &d.log.level, d.registry, d.stdout
	cfg.TracerProvider, cfg.Playground = d.telemetry.Provider(), play
	for _, s := range d.cfg.Settings(d.given) {
		cfg.Settings = append(cfg.Settings, api.Setting(s))
	}
	cfg.OpenPerToken, cfg.AdminOpenPerToken = openPerToken(d.connections.Clients), openPerToken(d.connections.Side)
	return build(ctx, cfg)
}

// bind reads the certificates and binds the addresses of all listeners, in the
// order of config.Listeners.
func (d *serveRun) bind(ctx context.Context) (listeners, error) {
	var all listeners
	var mistakes []error
	for _, l := range d.cfg.Listeners() {
		certificates, err := newCertificates(l, d.log.Named("tls"), d.registry, nil)
		mistakes = append(mistakes, err)
		bound, err := d.bindOne(ctx, l)
		mistakes = append(mistakes, err)
		limited, err := d.limit(bound, l.Name)
		mistakes = append(mistakes, err)
		all = append(all, listener{Listener: bound, limit: limited, name: l.Name, flag: l.Flag, certificates: certificates})
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
	for _, name := range []string{config.Operations, config.Admin} {
		// Not the public listener: a proxy on this machine may pass on the Host of its
		// client, and what the listener answers is no use to a web page without a key.
		if addr := all.addr(name); addr != "" && config.Loopback(addr) {
			handlers[name] = routes.OnlyLocalNames(handlers[name])
		}
	}
	for i := range all {
		if l := &all[i]; l.name == config.GRPC {
			service.ExtAuthz().Limit(l.limit)
			l.serveBy(service.ExtAuthz())
		} else if err := l.handle(handlers[l.name], d.log.Logger, d.registry); err != nil {
			all.close()
			return nil, err
		}
	}
	return all, nil
}
