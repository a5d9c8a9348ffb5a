package keytail

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/tokens"
	"github.com/keytail/keytail/internal/usage"
)

// parts are the rooms that meet the database, before anything has been asked of
// it.
type parts struct {
	config Config
	// forward is what forward-auth needs, but for its validator.
	forward forwardauth.Config
	cache   *keycache.Cache
	store   *keystore.Store
	index   *keystore.IndexWatch
	heart   *changestream.Heartbeater
	tail    *changestream.Tail
	// sink is what the tail tells.
	sink sink
	// preload is nil until the Service is assembled. The tail asks it how long a scan
	// takes.
	preload atomic.Pointer[preload.Loader]
	// usage is nil where the use of keys is not written down.
	usage *usage.Recorder
	// callers and admins are nil without a file.
	callers, admins *tokens.Set
}

// newParts checks the configuration, all of it.
func newParts(config Config) (*parts, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Registry == nil {
		config.Registry = prometheus.NewRegistry()
	}
	if config.StateDatabase == "" {
		config.StateDatabase = config.Database
	}
	sources, sourcesErr := forwardauth.ParseKeySources(config.KeySources)
	proxies, proxiesErr := forwardauth.ParseTrustedProxies(config.TrustedProxies)
	cache, cacheErr := keycache.New(keycache.Config{
		SizeMiB:  config.CacheSizeMiB,
		MaxStale: config.MaxStale,
		Complete: preload.Mode(config.Preload) != preload.Off,
	})
	store, storeErr := newStore(config)
	callers, callersErr := newTokens(config, config.CallerTokenFile, "caller-token-file", "public")
	admins, adminsErr := newTokens(config, config.AdminTokenFile, "admin-token-file", "admin")
	if err := errors.Join(sourcesErr, proxiesErr, cacheErr, storeErr, policiesErr(config.Policies), callersErr, adminsErr); err != nil {
		return nil, err
	}
	p := &parts{config: config, cache: cache, store: store, callers: callers, admins: admins}
	p.forward = forwardauth.Config{KeySources: sources, TrustedProxies: proxies, Policies: policies(config.Policies)}
	return p, p.follow()
}

func newStore(config Config) (*keystore.Store, error) {
	collection := config.Collection
	if collection == "" {
		collection = keystore.DefaultSchema().Collection
	}
	return keystore.New(keystore.Config{
		Client:     config.Client,
		Database:   config.Database,
		Schema:     config.Mapping.Schema(collection, config.DefaultScopes),
		Logger:     config.Logger,
		Registerer: config.Registry,
	})
}

// newTokens is nil without a file.
func newTokens(config Config, path, flag, listener string) (*tokens.Set, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file, and nothing wrong
	}
	return tokens.New(tokens.Config{
		Path: path, Flag: flag, Listener: listener,
		Logger: config.Logger.Named("tokens"), Registerer: config.Registry,
	})
}

func policiesErr(policies map[string]Policy) error {
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		mistakes = append(mistakes, forwardauth.CheckPolicy(name, forwardauth.Policy(policies[name])))
	}
	return errors.Join(mistakes...)
}

// policies are those of the configuration in forward-auth's form.
func policies(named map[string]Policy) map[string]forwardauth.Policy {
	all := make(map[string]forwardauth.Policy, len(named))
	for name, policy := range named {
		all[name] = forwardauth.Policy(policy)
	}
	return all
}

func newHeart(config Config, collection string) (*changestream.Heartbeater, error) {
	return changestream.NewHeartbeater(changestream.HeartbeaterConfig{
		Database:     mongoclient.Database(config.Client, config.Database),
		State:        mongoclient.Database(config.Client, config.StateDatabase),
		Collection:   collection,
		InstanceName: config.InstanceName,
		Interval:     config.HeartbeatInterval,
		MaxStale:     config.MaxStale,
		Version:      config.Version,
		Logger:       config.Logger,
		Registerer:   config.Registry,
	})
}

// follow makes the heart, the tail, and what hears of it.
func (p *parts) follow() error {
	scope, err := changestream.ParseScope(p.config.StreamScope)
	if err != nil {
		return err
	}
	p.heart, err = newHeart(p.config, p.store.Schema().Collection)
	if err != nil {
		return err
	}
	if p.usage, err = newUsage(p.config, p.store.Schema()); err != nil {
		return err
	}
	if p.sink, err = newSink(p.config, p.cache, p.heart, p.store.Schema().Collection); err != nil {
		return err
	}
	p.index, err = keystore.NewIndexWatch(keystore.IndexWatchConfig{Store: p.store, Logger: p.config.Logger, Registerer: p.config.Registry})
	if err != nil {
		return err
	}
	maxAwait, watchdog := changestream.Waits(p.config.MaxStale)
	p.tail, err = changestream.New(changestream.Config{
		Database:   mongoclient.Database(p.config.Client, p.config.Database),
		Scope:      scope,
		Schema:     p.store.Schema(),
		Sink:       p.sink,
		Collection: watchedKeys{p.store, p.index},
		Heart:      p.heart,
		OnLoss:     p.sink.lost,
		LastScan:   p.lastScan,
		MaxAwait:   scope.MaxAwait(maxAwait, p.config.MaxStale),
		Watchdog:   watchdog,
		Logger:     p.config.Logger,
		Registerer: p.config.Registry,
	})
	return err
}

// watchedKeys is the collection as the tail sees it. A stream that begins anew may be
// on a collection that has lost its index, so that is looked at.
type watchedKeys struct {
	*keystore.Store
	index *keystore.IndexWatch
}

func (k watchedKeys) Inspect(ctx context.Context) error {
	err := k.Store.Inspect(ctx)
	k.index.Hurry() // of the collection that was seen
	return err
}

// lastScan is how long the last complete scan took, zero if there was none.
func (p *parts) lastScan() time.Duration {
	if scans := p.preload.Load(); scans != nil {
		return scans.LastScan()
	}
	return 0
}

// prepare refuses a database on which keytail can keep no promise.
func (p *parts) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.store.Prepare(ctx, p.config.EnsureSchema); err != nil {
		return err
	}
	if err := p.heart.Prepare(ctx); err != nil {
		return err
	}
	if err := p.tail.CheckAccess(ctx); err != nil {
		return err
	}
	p.prepareUsage(ctx)
	return nil
}

// newUsage makes what writes down the use of keys, or nil where the collection has
// no field for it.
func newUsage(config Config, schema keystore.Schema) (*usage.Recorder, error) {
	if config.NoUsage || schema.LastUsed == "" && schema.UsageCount == "" {
		return nil, nil //nolint:nilnil // nothing is wanted, and nothing wrong
	}
	return usage.New(usage.Config{
		Keys:       mongoclient.Database(config.Client, config.Database).Collection(schema.Collection),
		LastUsed:   schema.LastUsed,
		UsageCount: schema.UsageCount,
		IDValue:    schema.IDValue,
		Logger:     config.Logger,
		Registerer: config.Registry,
	})
}

// prepareUsage does without usage where the credential may not write it down,
// which is said once.
func (p *parts) prepareUsage(ctx context.Context) {
	if p.usage == nil {
		return
	}
	switch err := p.usage.Prepare(ctx); {
	case errors.Is(err, keystore.ErrUnauthorized):
		p.config.Logger.Warn(err.Error())
		p.usage = nil
	case err != nil:
		// Answers do not depend on it, and the next attempt may go well.
		p.config.Logger.Warn("it is not known yet whether the use of keys can be written down", zap.Error(err))
	}
}
