package keytail

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/service"
	"github.com/keytail/keytail/internal/usage"
)

// The bounds of Config. The daemon's settings have the same.
const (
	// minMaxStale leaves room for the shortest interval between heartbeats.
	minMaxStale = changestream.MaxStaleParts * changestream.MinHeartbeatInterval
	// maxMaxStale is far below the 24 h after which the heartbeat of an instance that is
	// gone is deleted.
	maxMaxStale = time.Hour
	// minAuditInterval keeps a mistake in the unit from becoming a load, and an audit
	// beyond maxAuditInterval reports a problem too late.
	minAuditInterval, maxAuditInterval = time.Second, 24 * time.Hour
	// minUsageInterval is that between two flushes: a shorter one would change nothing.
	minUsageInterval, maxUsageInterval = usage.DefaultInterval, 24 * time.Hour
	// minExpiryNotice is the default AuditInterval, the resolution of the notice. Beyond
	// maxExpiryNotice a list of keys is none of things to do.
	minExpiryNotice, maxExpiryNotice = time.Hour, 365 * 24 * time.Hour
	// maxInstanceName is far above any host name, in bytes.
	maxInstanceName = 256
	// maxCacheSizeMiB is 1 TiB: more is a mistake in the unit.
	minCacheSizeMiB, maxCacheSizeMiB = 3, 1 << 20
)

// check returns every mistake that can be found without the database, one line each.
// The parts of the core check their own configurations, too, but the first part with a
// mistake ends the wiring.
func (c *Config) check() error {
	core := c.internal()
	_, scopeErr := changestream.ParseScope(string(c.StreamScope))
	maxStale := cmp.Or(c.MaxStale, keycache.DefaultMaxStale)
	return errors.Join(
		c.checkRequired(),
		core.Schema.Validate(),
		scopeErr,
		optional("MaxStale", c.MaxStale, minMaxStale, maxMaxStale),
		optional("HeartbeatInterval", c.HeartbeatInterval, changestream.MinHeartbeatInterval,
			max(maxStale, minMaxStale)/changestream.MaxStaleParts),
		optional("AuditInterval", c.AuditInterval, minAuditInterval, maxAuditInterval),
		optional("ExpiryNotice", c.ExpiryNotice, minExpiryNotice, maxExpiryNotice),
		optional("UsageInterval", c.UsageInterval, minUsageInterval, maxUsageInterval),
		optional("CacheSizeMiB", c.CacheSizeMiB, minCacheSizeMiB, maxCacheSizeMiB),
		c.checkMaxReads(),
		c.checkInstanceName(),
		oneOf("Preload", string(c.Preload), string(preload.Auto), string(preload.On), string(preload.Off)),
		oneOf("Usage", string(c.Usage), string(service.UsageWrite), string(service.UsageOff)),
		c.checkKeyPrefix(),
	)
}

func (c *Config) checkRequired() error {
	var mistakes []error
	if c.Client == nil {
		mistakes = append(mistakes, errors.New("Config.Client is required: a *mongo.Client for the replica set with the keys"))
	}
	if c.Database == "" {
		mistakes = append(mistakes, errors.New("Config.Database is required: the name of the database with the keys"))
	}
	return errors.Join(mistakes...)
}

func (c *Config) checkMaxReads() error {
	if c.MaxReads < 0 {
		return fmt.Errorf("Config.MaxReads is %d: it must be positive, or 0 for the default", c.MaxReads)
	}
	return nil
}

func (c *Config) checkInstanceName() error {
	if len(c.InstanceName) > maxInstanceName {
		return fmt.Errorf("Config.InstanceName has %d bytes: it may have at most %d", len(c.InstanceName), maxInstanceName)
	}
	return nil
}

func (c *Config) checkKeyPrefix() error {
	if c.KeyPrefix == "" {
		return nil
	}
	if err := apikey.ValidPrefix(c.KeyPrefix); err != nil {
		return fmt.Errorf("Config.KeyPrefix is %q: %w", c.KeyPrefix, err)
	}
	return nil
}

// optional checks the bounds of a field whose zero value is a default.
func optional[T int | time.Duration](field string, value, least, most T) error {
	if value == 0 || least <= value && value <= most {
		return nil
	}
	return fmt.Errorf("Config.%s is %v: it must be between %v and %v, or 0 for the default", field, value, least, most) //nolint:staticcheck // a field's name
}

// oneOf checks a field whose empty value is a default.
func oneOf(field, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("Config.%s is %q: it must be %s, or empty for the default", field, value, strings.Join(allowed, " or ")) //nolint:staticcheck // a field's name
}
