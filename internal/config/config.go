// Package config is keytail's configuration: one struct whose fields are flags,
// environment variables and keys of a YAML file at once.
//
// The command line wins over the environment, the environment over the file, the
// file over the default. What is wrong is collected and reported together. A
// secret in a MongoDB URI is never part of an error.
package config

import (
	"slices"
	"time"
)

// EnvPrefix begins the name of every environment variable: --max-stale is
// KEYTAIL_MAX_STALE.
const EnvPrefix = "KEYTAIL"

// Config is everything that can be set. The tags are kong's; the defaults stand
// there and nowhere else, and README.md's table is made from them (Table).
type Config struct {
	MongoDBURI        string        `name:"mongodb-uri" placeholder:"URI" help:"The replica set that holds the keys. Required, except with --dev."`
	Database          string        `placeholder:"NAME" help:"The database that holds the keys. Default: the one in the URI's path."`
	Collection        string        `default:"api_keys" help:"The collection that holds the keys."`
	EnsureSchema      bool          `help:"Create the collection and its unique index at start if they are missing, instead of saying what is missing."`
	Addr              string        `default:"127.0.0.1:8080" help:"Public listener: verify, forward-auth, livez."`
	OpsAddr           string        `default:"127.0.0.1:9090" help:"Operations listener: livez, readyz, metrics."`
	MaxStale          time.Duration `default:"15s" help:"No answer from the cache is older than this. From 30ms to 1h."`
	HeartbeatInterval time.Duration `default:"1s" help:"How often an instance writes its heartbeat, whose way back proves that answers from the cache are fresh. From 10ms to a third of max-stale."`
	CacheSize         int           `default:"512" help:"Hard limit of the cache in MiB, at least 3."`
	Preload           string        `default:"auto" help:"Whether every key is held, so that an unknown one costs no read: auto (unless they cannot fit), on or off."`
	AuditInterval     time.Duration `default:"1h" help:"How often what is held is compared with the database. From 1s to 24h."`
	KeyPrefix         string        `default:"kt" help:"Prefix of keytail's own keys. Only keys with it are held against their checksum."`
	KeySources        []string      `default:"bearer,x-api-key" help:"Where forward-auth looks for the key: bearer, x-api-key, header:NAME, query:NAME, cookie:NAME."`
	TrustedProxies    []string      `placeholder:"CIDR" help:"Networks of proxies whose X-Forwarded-For is believed. Default: none, the client is the peer."`
	DrainDelay        time.Duration `default:"5s" help:"How long readyz answers 503 before the listeners close. 0 with --dev. At most 5m."`
	Dev               bool          `help:"Start with an in-memory MongoDB and 200 sample keys; nothing is kept. Refused in production."`
	DevMongoDBAddr    string        `name:"dev-mongodb-addr" default:"127.0.0.1:27127" help:"Where the in-memory MongoDB of --dev listens; a free port is taken when this one is not free."`
	LogLevel          string        `default:"info" help:"debug, info, warn or error."`
	LogFormat         string        `default:"json" help:"json or console. console with --dev."`
	File              string        `name:"config" placeholder:"FILE" help:"YAML file with any of these settings but this one."`
}

// devDatabase is where --dev keeps the sample keys unless --database says
// otherwise.
const devDatabase = "keytail"

// Complete fills in what depends on other settings: the database of the URI, a
// heartbeat that is often enough for max-stale, and with --dev what a newcomer wants wherever nothing else was given.
func (c *Config) Complete(given Given) {
	if c.Database == "" {
		c.Database = uriDatabase(c.MongoDBURI)
	}
	if !given["heartbeat-interval"] {
		c.HeartbeatInterval = shorter(c.HeartbeatInterval, c.MaxStale)
	}
	if !c.Dev {
		return
	}
	if c.Database == "" {
		c.Database = devDatabase
	}
	if !given["ensure-schema"] {
		c.EnsureSchema = true
	}
	if !given["drain-delay"] {
		c.DrainDelay = 0
	}
	if !given["log-format"] {
		c.LogFormat = "console"
	}
}

// shorter makes an interval that nobody asked for fit a short max-stale.
func shorter(interval, maxStale time.Duration) time.Duration {
	return max(minHeartbeat, min(interval, maxStale/heartbeatParts))
}

// Given holds the names of the flags that were set by the command line, the
// environment or the file, as opposed to their default.
type Given map[string]bool

// Names are the given flags in alphabetical order: their values may be secret,
// so a log shows these.
func (g Given) Names() []string {
	names := make([]string, 0, len(g))
	for name := range g {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
