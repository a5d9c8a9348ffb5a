package service

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
)

// UsageMode selects whether the use of keys is written to their documents.
type UsageMode string

const (
	// UsageWrite writes last_used and usage_count in batches, if the credential
	// may.
	UsageWrite UsageMode = "write"
	// UsageOff leaves both fields alone.
	UsageOff UsageMode = "off"
)

// Config of a Service. Client and Database are required; the zero value of every
// other field is a default. The documentation of keytail.Config says more
// about the fields that both have.
type Config struct {
	// Client reaches the deployment. The Service does not disconnect it.
	Client *mongo.Client
	// Database holds the keys.
	Database string
	// Schema has the name of the collection and the mapping of its documents. Zero:
	// keystore.DefaultSchema.
	Schema keystore.Schema
	// HashSecret is the secret of the schema's hash algorithm. Nil: none.
	HashSecret []byte
	// StreamScope is what the change stream watches. Empty: the database.
	StreamScope changestream.Scope
	// StateDatabase holds the heartbeats. Empty: Database.
	StateDatabase string
	// EnsureSchema creates the collection and its unique index if they are missing.
	EnsureSchema bool
	// MaxStale is the maximum staleness of an answer from the cache. Zero:
	// keycache.DefaultMaxStale.
	MaxStale time.Duration
	// HeartbeatInterval is the time between two heartbeats. Zero:
	// changestream.HeartbeatInterval of the fleet.
	HeartbeatInterval time.Duration
	// ReadPreference is which members serve what no request waits for: the change stream,
	// scans, audits and refreshes. Nil: the primary.
	ReadPreference *readpref.ReadPref
	// InstanceName identifies this instance in the fleet. Empty: the host's name.
	InstanceName string
	// MaxReads is the maximum number of concurrent reads of keys. Zero:
	// validator.DefaultMaxReads.
	MaxReads int64
	// CacheSizeMiB is the hard limit of the cache, in MiB. Zero:
	// keycache.DefaultSizeMiB.
	CacheSizeMiB int
	// Preload selects whether the cache is complete. Empty: preload.Auto.
	Preload preload.Mode
	// AuditInterval is the time between two audits. Zero:
	// preload.DefaultAuditInterval.
	AuditInterval time.Duration
	// RefreshQueue is how many changed keys may wait to be read again. Zero:
	// keycache.DefaultRefreshQueue.
	RefreshQueue int
	// OutdatedShare is the share of keys that need a read above which a scan follows when
	// refreshes were dropped. Zero: preload.DefaultOutdatedShare. At least 1: never.
	OutdatedShare float64
	// ExpiryNotice is how long before its expiry a key counts as about to expire.
	// Zero: expiry.DefaultNotice.
	ExpiryNotice time.Duration
	// KeyPrefix is the prefix of keys that keytail generates. Empty:
	// apikey.DefaultPrefix.
	KeyPrefix string
	// RequireBinding refuses a key that is bound if the request does not name what it
	// is for.
	RequireBinding bool
	// Usage selects whether the use of keys is written. Empty: UsageWrite.
	Usage UsageMode
	// UsageInterval is the time between two writes of the use of one key. Zero:
	// usage.KeyInterval of the fleet.
	UsageInterval time.Duration
	// Logger: nil is silent.
	Logger *zap.Logger
	// Registerer receives the metrics. Nil: they are not exported.
	Registerer prometheus.Registerer
	// TracerProvider takes the spans of work that no request waits for. Nil: there are none.
	TracerProvider trace.TracerProvider
	// Version is the one in heartbeats and metrics. Empty: "unknown".
	Version string
}

func (c *Config) setDefaults() {
	if c.StateDatabase == "" {
		c.StateDatabase = c.Database
	}
	if c.Usage == "" {
		c.Usage = UsageWrite
	}
	if c.MaxStale == 0 {
		c.MaxStale = keycache.DefaultMaxStale
	}
	if c.Preload == "" {
		c.Preload = preload.Auto
	}
	if c.StreamScope == "" {
		c.StreamScope = changestream.ScopeDatabase
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
}

func (c *Config) checkUsage() error {
	if c.Usage != UsageWrite && c.Usage != UsageOff {
		return fmt.Errorf("usage is %q: it must be %s or %s", c.Usage, UsageWrite, UsageOff)
	}
	return nil
}

// writesUsage reports whether use is to be written, and there is a field for it.
func (c *Config) writesUsage() bool {
	return c.Usage == UsageWrite && (c.Schema.LastUsed != "" || c.Schema.UsageCount != "")
}
