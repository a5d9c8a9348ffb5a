package cli

import (
	"context"
	"errors"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/routes"
)

type serveCommand struct {
	config.Config
}

// process is what a command has of the process that it runs in.
type process struct {
	stdout, stderr io.Writer
	deps           Deps
	given          config.Given
}

// run serves until ctx ends. wrong is what the parser found; everything else
// that is wrong with the configuration is reported with it.
func (c *serveCommand) run(ctx context.Context, p process, wrong error) int {
	c.Complete(p.given)
	if err := errors.Join(wrong, c.check(p)); err != nil {
		return usage(p.stderr, err)
	}
	logger, err := newLogger(&c.Config, p.stderr)
	if err != nil {
		return usage(p.stderr, err)
	}
	daemon := &daemon{process: p, cfg: &c.Config, log: logger}
	err = daemon.run(ctx)
	_ = logger.Sync() // stderr cannot be synced on every system
	if err != nil && !stopped(ctx, err) {
		return fail(p.stderr, exitFailure, err)
	}
	return exitOK
}

// check adds to the configuration's own checks those of the packages that know
// better what a value means.
func (c *serveCommand) check(p process) error {
	_, sources := routes.ParseKeySources(c.KeySources)
	_, proxies := routes.ParseTrustedProxies(c.TrustedProxies)
	mapping := keytail.Mapping(c.Map).Schema(c.Collection, c.DefaultScopes).CheckMapping()
	mistakes := []error{c.Check(), sources, proxies, mapping}
	if c.Dev && p.deps.NewDev == nil {
		mistakes = append(mistakes, errors.New("this binary was built without the in-memory MongoDB of --dev"))
	}
	if mistakes[0] == nil && !c.Dev && !isSRV(c.MongoDBURI) {
		_, err := clientOptions(c.MongoDBURI)
		mistakes = append(mistakes, err)
	}
	return errors.Join(mistakes...)
}

// daemon is one run of serve.
type daemon struct {
	process
	cfg *config.Config
	log *zap.Logger
}

// run builds everything in the order of DESIGN.md section 2 and takes it down in
// the reverse one: each deferred call has what it needs still running.
func (d *daemon) run(ctx context.Context) error {
	d.announce()
	uri := d.cfg.MongoDBURI
	var dev *devServer
	if d.cfg.Dev {
		var err error
		if dev, err = d.startDev(); err != nil {
			return err
		}
		defer dev.stop()
		uri = dev.URI()
	}
	client, reads, err := connect(uri)
	if err != nil {
		return err
	}
	defer disconnect(client, d.log)
	service, err := d.newService(ctx, client, reads)
	if err != nil {
		return err
	}
	if dev != nil {
		if err := loadSamples(ctx, client.Database(d.cfg.Database).Collection(d.cfg.Collection)); err != nil {
			return err
		}
	}
	public, operations, err := d.listen(ctx, service)
	if err != nil {
		return err
	}
	return d.supervise(ctx, parts{service: service, public: public, operations: operations, dev: dev})
}

// announce logs the start. Of the settings it shows the names only, since their
// values may be secret.
func (d *daemon) announce() {
	d.log.Info("starting", zap.String("version", serviceVersion(d.deps)), zap.Strings("given", d.given.Names()),
		zap.String("database", d.cfg.Database), zap.String("collection", d.cfg.Collection))
	if !config.Loopback(d.cfg.Addr) {
		d.log.Warn("the public listener can be reached from other machines, and anyone who reaches it may ask about keys: let only your own services and proxies through",
			zap.String("addr", d.cfg.Addr))
	}
}

func (d *daemon) newService(ctx context.Context, client *mongo.Client, reads int64) (Service, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := d.deps.NewService
	if build == nil {
		build = func(ctx context.Context, cfg keytail.Config) (Service, error) { return keytail.New(ctx, cfg) }
	}
	return build(ctx, keytail.Config{
		Client:            client,
		Database:          d.cfg.Database,
		Collection:        d.cfg.Collection,
		Mapping:           keytail.Mapping(d.cfg.Map),
		DefaultScopes:     d.cfg.DefaultScopes,
		EnsureSchema:      d.cfg.EnsureSchema,
		StreamScope:       d.cfg.StreamScope,
		StateDatabase:     d.cfg.StateDatabase,
		MaxStale:          d.cfg.MaxStale,
		HeartbeatInterval: d.cfg.HeartbeatInterval,
		MaxReads:          reads,
		CacheSizeMiB:      d.cfg.CacheSize,
		Preload:           d.cfg.Preload,
		AuditInterval:     d.cfg.AuditInterval,
		KeyPrefix:         d.cfg.KeyPrefix,
		KeySources:        d.cfg.KeySources,
		TrustedProxies:    d.cfg.TrustedProxies,
		Logger:            d.log,
		Registry:          registry,
		Version:           serviceVersion(d.deps),
	})
}

// listen binds both addresses. With --dev an address that nobody asked for gives
// way to a free port: a newcomer should not have to know what else is running.
func (d *daemon) listen(ctx context.Context, service Service) (public, operations listener, err error) {
	bind := func(name, flag, addr string) listener {
		l, bindErr := listen(ctx, flag, addr, d.cfg.Dev && !d.given[flag])
		err = errors.Join(err, bindErr)
		return listener{Listener: l, name: name}
	}
	public, operations = bind("public", "addr", d.cfg.Addr), bind("operations", "ops-addr", d.cfg.OpsAddr)
	if err != nil {
		for _, l := range []listener{public, operations} {
			if l.Listener != nil {
				_ = l.Close()
			}
		}
		return public, operations, err
	}
	return serving(public, public.name, service.Public(), d.log), serving(operations, operations.name, service.Operations(), d.log), nil
}
