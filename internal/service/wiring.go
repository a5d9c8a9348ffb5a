package service

import (
	"context"
	"errors"
	"time"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/expiry"
	"github.com/keytail/keytail/internal/fleet"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/revocation"
	"github.com/keytail/keytail/internal/usage"
	"github.com/keytail/keytail/internal/validator"
)

// Wire creates every part of a Service and connects them, in the order of start:
// what a part needs stands above it. It sends nothing to the database and starts no
// goroutine; Prepare and Run do. The error names every mistake of the configuration
// that can be found without the database.
//
// It is one long function on purpose: there is nothing else to read to know how
// keytail is put together.
func Wire(config Config) (*Service, error) {
	config.setDefaults()
	logger, registerer := config.Logger, config.Registerer

	// The cache has no valid entries until the change stream is open.
	cache, cacheErr := keycache.New(keycache.Config{
		SizeMiB: config.CacheSizeMiB, MaxStale: config.MaxStale, Complete: config.Preload != preload.Off, RefreshQueue: config.RefreshQueue,
	})
	store, storeErr := keystore.New(keystore.Config{
		Client: config.Client, Database: config.Database, Schema: config.Schema, HashSecret: config.HashSecret,
		ReadPreference: config.ReadPreference, Logger: logger, Registerer: registerer,
	})
	scope, scopeErr := changestream.ParseScope(string(config.StreamScope))
	if err := errors.Join(cacheErr, storeErr, scopeErr, config.checkUsage()); err != nil {
		return nil, err
	}
	config.Schema = store.Schema()
	s := &Service{Config: config, Cache: cache, Store: store}
	keysDatabase := mongoclient.Database(config.Client, config.Database)

	// Each round trip of a heartbeat through the change stream proves that answers
	// from the cache are fresh. The heartbeats of all instances are the fleet.
	var err error
	if s.Heartbeater, err = changestream.NewHeartbeater(changestream.HeartbeaterConfig{
		Database: keysDatabase, State: mongoclient.Database(config.Client, config.StateDatabase), Collection: config.Schema.Collection,
		InstanceName: config.InstanceName, Version: config.Version,
		Interval: config.HeartbeatInterval, Instances: s.instances, MaxStale: config.MaxStale, Logger: logger, Registerer: registerer,
	}); err != nil {
		return nil, err
	}
	if s.Fleet, err = fleet.New(fleet.Config{
		Heartbeats: s.Heartbeater.Heartbeats(), Namespace: store.Namespace(), Self: s.Heartbeater.ID(), Heartbeater: s.Heartbeater,
		Fresh: freshness(cache), Logger: logger, Registerer: registerer,
	}); err != nil {
		return nil, err
	}

	// What happens to keys reaches the cache first, then clients that listen to
	// events, then running requests whose key is revoked.
	if s.Events, err = events.New(events.Config{Text: keystore.IDText}); err != nil {
		return nil, err
	}
	s.Watches = revocation.New(revocation.Config{})
	s.sink = sink{Sink: cache, events: s.Events, watches: s.Watches, fleet: s.Fleet}

	// The tail reads the change stream into the sink.
	if s.index, err = keystore.NewIndexWatch(keystore.IndexWatchConfig{Store: store, Logger: logger, Registerer: registerer}); err != nil {
		return nil, err
	}
	maxAwait, watchdog := changestream.TimeoutsFor(config.MaxStale)
	if s.Tail, err = changestream.New(changestream.Config{
		Database: keysDatabase, Scope: scope, ReadPreference: config.ReadPreference, Schema: config.Schema, Collection: watchedKeys{store, s.index}, Heartbeater: s.Heartbeater,
		Sink: s.sink, OnLoss: s.sink.reportLoss, LastScan: s.LastScan,
		MaxAwait: scope.MaxAwait(maxAwait, config.MaxStale), Watchdog: watchdog, Logger: logger, Registerer: registerer,
	}); err != nil {
		return nil, err
	}

	// The loader makes the cache complete, and compares it with the database. It reads
	// every document for that, so it also finds the keys that are about to expire.
	soon, err := expiry.New(expiry.Config{Notice: config.ExpiryNotice, Report: s.Events.KeyExpires, Logger: logger.Named("expiry"), Registerer: registerer})
	if err != nil {
		return nil, err
	}
	if s.loader, err = preload.New(preload.Config{
		Cache: cache, Store: store, Heartbeater: s.Heartbeater, UniqueIndex: s.index.Check, Observer: soon, Instances: s.Fleet.Size,
		Mode: config.Preload, CacheBytes: cache.GenerationBytes(), AuditInterval: config.AuditInterval, OutdatedShare: config.OutdatedShare, Logger: logger, Registerer: registerer,
	}); err != nil {
		return nil, err
	}

	// The validator answers from the cache, and reads the store on a miss.
	var recorder validator.UsageRecorder // nil if use is not written
	if s.Usage, err = newUsage(config, s.instances); s.Usage != nil {
		recorder = s
	}
	if err != nil {
		return nil, err
	}
	if s.Validator, err = validator.New(validator.Config{
		Cache: cache, Store: store, Prefix: config.KeyPrefix, Hasher: store.Hasher(), RequireBinding: config.RequireBinding, Usage: recorder, Heartbeater: s.Heartbeater,
		MaxReads: config.MaxReads, Logger: logger, Registerer: registerer,
	}); err != nil {
		return nil, err
	}

	s.health = newHealth(s, time.Now)
	return s, s.registerMetrics()
}

// instances is how many there are in the fleet. Parts that stand above the fleet in
// Wire call it when they run.
func (s *Service) instances() int { return s.Fleet.Size() }

// freshness is the freshness of the cache in the form that the fleet requires.
func freshness(cache *keycache.Cache) func() (time.Time, clustertime.Time) {
	return func() (time.Time, clustertime.Time) {
		if fresh := cache.Freshness(); fresh != nil {
			return fresh.AsOf, fresh.Processed
		}
		return time.Time{}, 0
	}
}

// watchedKeys is the collection as the tail sees it. A new stream may be on a
// collection that has lost its unique index, so each inspection checks that, too.
type watchedKeys struct {
	*keystore.Store
	index *keystore.IndexWatch
}

func (k watchedKeys) Inspect(ctx context.Context) error {
	err := k.Store.Inspect(ctx)
	k.index.CheckSoon() // after the inspection, so that it checks the collection that was inspected
	return err
}

// newUsage is nil if the use of keys is not written.
func newUsage(config Config, instances func() int) (*usage.Recorder, error) {
	if !config.writesUsage() {
		return nil, nil //nolint:nilnil // off, and no error
	}
	return usage.New(usage.Config{
		Keys:     mongoclient.Database(config.Client, config.Database).Collection(config.Schema.Collection),
		LastUsed: config.Schema.LastUsed, UsageCount: config.Schema.UsageCount, IDValue: config.Schema.IDValue,
		KeyInterval: config.UsageInterval, Instances: instances,
		Logger: config.Logger, Registerer: config.Registerer,
	})
}
