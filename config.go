package keytail

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.opentelemetry.io/otel/trace"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/service"
)

// StreamScope is what the change stream watches.
type StreamScope string

const (
	// StreamDatabase watches the whole database of the keys.
	StreamDatabase StreamScope = "database"
	// StreamCollection watches the collection of the keys only, for a credential that
	// may watch no more.
	StreamCollection StreamScope = "collection"
)

// Preload selects whether the cache is complete: whether it holds every key, so that an
// unknown key needs no read of the database.
type Preload string

const (
	// PreloadAuto loads all keys unless they cannot fit into the cache.
	PreloadAuto Preload = "auto"
	// PreloadOn loads all keys.
	PreloadOn Preload = "on"
	// PreloadOff loads a key when it is first used.
	PreloadOff Preload = "off"
)

// Usage selects whether the use of keys is written to their documents.
type Usage string

const (
	// UsageWrite writes last_used and usage_count in batches, in the background and when Run
	// stops, if the credential may.
	UsageWrite Usage = "write"
	// UsageOff leaves both fields alone.
	UsageOff Usage = "off"
)

// Config of a Service. Client and Database are required; the zero value of every
// other field is a default.
type Config struct {
	// Client reaches the replica set that holds the keys. Its read concern, write
	// concern and read preference are not used: the Service sets its own.
	//
	// It must have no timeout for all operations (SetTimeout), which would end an idle
	// change stream, and no direct connection to a set of several members. It should
	// have a connect timeout and a heartbeat interval of a few seconds
	// (SetConnectTimeout, SetHeartbeatInterval): with the driver's 30 s and 10 s, a
	// network that fails for a moment keeps reads waiting for that long
	// (docs/mongodb-uri.md). The Service does not disconnect it.
	Client *mongo.Client
	// Database holds the keys.
	Database string
	// Collection holds the keys. Empty: "api_keys".
	Collection string
	// Mapping defines which field of a document has which role. Zero: DefaultMapping.
	Mapping Mapping
	// HashSecret is the secret (the "pepper") under which the hashes of the keys were
	// made with HashHMACSHA256, as the bytes that the program which made them used; at
	// least 16 are recommended. Nil: none, for HashSHA256.
	HashSecret Secret
	// DefaultScopes are the scopes of a key whose document has none (absent or null).
	// Nil: none.
	DefaultScopes []string
	// StreamScope is what the change stream watches. Empty: StreamDatabase.
	StreamScope StreamScope
	// StateDatabase holds keytail's own collection, the heartbeats. Another database
	// than that of the keys needs StreamCollection. Empty: Database.
	StateDatabase string
	// EnsureSchema creates the collection and its unique index if they are missing.
	// False: New returns an error that names what is missing.
	EnsureSchema bool
	// MaxStale is the maximum staleness of an answer from the cache, 30 ms to 1 h. Zero:
	// 15 s.
	MaxStale time.Duration
	// HeartbeatInterval is the time between two heartbeats, whose round trip through
	// the change stream proves that answers from the cache are fresh; 10 ms to a third
	// of MaxStale. Zero: 1 s, or a third of MaxStale if that is shorter; in a fleet of
	// more than 200 instances it grows to a fifth of MaxStale (docs/scale.md).
	HeartbeatInterval time.Duration
	// ReadPreference is which members serve what no request waits for: the change
	// stream, scans, audits and refreshes. Each answer's staleness is proven whoever
	// serves (docs/scale.md). Nil: the primary.
	ReadPreference *readpref.ReadPref
	// InstanceName identifies this instance in the fleet, with at most 256 bytes; it need
	// not be unique. Empty: the host's name.
	InstanceName string
	// MaxReads is the maximum number of concurrent reads of keys: the client's pool
	// size less eight. A request that needs one more is Unavailable. Zero: 92.
	MaxReads int
	// CacheSizeMiB is the limit of the bytes of cached keys, in MiB, at least 3. On top
	// come their index, the slots, the decoded records of the front (at most an eighth),
	// and where not all keys fit, those on probation (a sixteenth). A MiB holds at least
	// 5,700 keys of ordinary size (140 bytes), or 5,600 with PreloadOff; half as many
	// leave memory for a second copy (docs/deploy.md#memory). Zero: 512.
	CacheSizeMiB int
	// Preload selects whether the cache is complete. Empty: PreloadAuto.
	Preload Preload
	// AuditInterval is the time between two scans that compare the cache with the
	// database, 1 s to 24 h. Zero: 1 h.
	AuditInterval time.Duration
	// ExpiryNotice is how long before its expiry a key counts in the metric
	// keytail_keys_expiring, 1 h to 365 days. Zero: 14 days.
	ExpiryNotice time.Duration
	// KeyPrefix is the prefix of keys that keytail generates, 1 to 16 characters of a-z
	// and 0-9; only the checksum of keys with this prefix is verified. Empty: "kt".
	KeyPrefix string
	// RequireBinding makes every request one that must name its organisation and its
	// project: without them, a key that is bound is auth.Forbidden. False: a request that
	// names none is for what the key is bound to. Package auth has RequireOrg and
	// RequireProject for single routes (docs/security.md explains when to use which).
	RequireBinding bool
	// Usage selects whether last_used and usage_count are written. Empty: UsageWrite.
	Usage Usage
	// UsageInterval is the time between two writes of last_used and usage_count of one
	// key, 10 s to 24 h. Zero: 3 s for each instance of the fleet, from a minute to an
	// hour.
	UsageInterval time.Duration
	// Logger receives the log; the attribute "logger" of its lines begins with "keytail".
	// Nil: nothing is logged. No log line contains a key.
	Logger *slog.Logger
	// Registerer receives the metrics (docs/metrics.md) until Run returns, those of one
	// Service at a time: for two of them, prometheus.WrapRegistererWith gives each a label.
	// Nil: they are not exported.
	Registerer prometheus.Registerer
	// TracerProvider takes the spans of work that no request waits for, such as scans
	// (docs/tracing.md). What keytail does for a request is part of the span in its context,
	// without this. Nil: there are none.
	TracerProvider trace.TracerProvider
	// Version is the version of the program, shown in metrics and heartbeats. Empty:
	// "unknown".
	Version string
}

// internal is the configuration of the core, without the Registerer.
func (c *Config) internal() service.Config {
	collection := c.Collection
	if collection == "" {
		collection = keystore.DefaultSchema().Collection
	}
	return service.Config{
		Client:            c.Client,
		Database:          c.Database,
		Schema:            c.Mapping.schema(collection, c.DefaultScopes),
		HashSecret:        c.HashSecret,
		StreamScope:       changestream.Scope(c.StreamScope),
		StateDatabase:     c.StateDatabase,
		EnsureSchema:      c.EnsureSchema,
		MaxStale:          c.MaxStale,
		HeartbeatInterval: c.HeartbeatInterval,
		ReadPreference:    c.ReadPreference,
		InstanceName:      c.InstanceName,
		MaxReads:          int64(c.MaxReads),
		CacheSizeMiB:      c.CacheSizeMiB,
		Preload:           preload.Mode(c.Preload),
		AuditInterval:     c.AuditInterval,
		ExpiryNotice:      c.ExpiryNotice,
		KeyPrefix:         c.KeyPrefix,
		RequireBinding:    c.RequireBinding,
		Usage:             service.UsageMode(c.Usage),
		UsageInterval:     c.UsageInterval,
		Logger:            toZap(c.Logger),
		TracerProvider:    c.TracerProvider,
		Version:           c.Version,
	}
}
