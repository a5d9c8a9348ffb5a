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
// there and nowhere else, and docs/configuration.md is made from them (Markdown).
type Config struct {
	MongoDBURI          string        `name:"mongodb-uri" placeholder:"URI" help:"The replica set that holds the keys. Required, except with --dev."`
	Database            string        `placeholder:"NAME" help:"The database that holds the keys. Default: the one in the URI's path."`
	Collection          string        `default:"api_keys" help:"The collection that holds the keys."`
	EnsureSchema        bool          `help:"Create the collection and its unique index at start if they are missing, and with the admin API an index for its lists, instead of saying what is missing."`
	Addr                string        `default:"127.0.0.1:8080" help:"Public listener: verify, forward-auth, livez."`
	OpsAddr             string        `default:"127.0.0.1:9090" help:"Operations listener: livez, readyz, metrics."`
	MaxStale            time.Duration `default:"15s" help:"No answer from the cache is older than this. From 30ms to 1h."`
	HeartbeatInterval   time.Duration `default:"1s" help:"How often an instance writes its heartbeat, whose way back proves that answers from the cache are fresh. From 10ms to a third of max-stale."`
	CacheSize           int           `default:"512" help:"Hard limit of the cache in MiB, at least 3."`
	Preload             string        `default:"auto" help:"Whether every key is held, so that an unknown one costs no read: auto (unless they cannot fit), on or off."`
	AuditInterval       time.Duration `default:"1h" help:"How often what is held is compared with the database. From 1s to 24h."`
	KeyPrefix           string        `default:"kt" help:"Prefix of keytail's own keys. Only keys with it are held against their checksum."`
	KeySources          []string      `default:"bearer,x-api-key" help:"Where forward-auth looks for the key: bearer, x-api-key, header:NAME, query:NAME, cookie:NAME."`
	TrustedProxies      []string      `placeholder:"CIDR" help:"Networks of proxies whose X-Forwarded-For is believed. Default: none, the client is the peer."`
	DrainDelay          time.Duration `default:"5s" help:"How long readyz answers 503 before the listeners close. 0 with --dev. At most 5m."`
	Dev                 bool          `help:"Start with an in-memory MongoDB and 200 sample keys; nothing is kept. Refused in production."`
	DevMongoDBAddr      string        `name:"dev-mongodb-addr" default:"127.0.0.1:27127" help:"Where the in-memory MongoDB of --dev listens; a free port is taken when this one is not free."`
	LogLevel            string        `default:"info" help:"debug, info, warn or error."`
	LogFormat           string        `default:"json" help:"json or console. console with --dev."`
	StreamScope         string        `default:"database" help:"What the change stream watches: database, or collection where the credential may watch the keys alone."`
	StateDatabase       string        `placeholder:"NAME" help:"The database of keytail's own collections (heartbeats, audit). Another one than the keys' needs --stream-scope collection. Default: the keys' own."`
	MongoDBPasswordFile string        `name:"mongodb-password-file" placeholder:"FILE" help:"File with the password of the URI's user, so that the URI holds no secret."`
	AdminAddr           string        `default:"127.0.0.1:9091" help:"Admin listener: status page, admin API. It is off without --admin-token-file, and refused on other than loopback addresses without TLS."`
	AdminTokenFile      string        `placeholder:"FILE" help:"Who may use the admin listener: lines of name=token. Read again when the file changes."`
	CallerTokenFile     string        `placeholder:"FILE" help:"Who may call verify, sync and events: lines of name=token. Read again when the file changes. Default: verify is open to who can reach it, the others are off."`
	GRPCAddr            string        `name:"grpc-addr" placeholder:"ADDR" help:"gRPC listener: Envoy's ext_authz, health, reflection. Empty: off."`
	HideCredentials     bool          `help:"Let Envoy take the key out of a request that is allowed, by ext_authz over gRPC. Other proxies do that by their own configuration, see examples."`
	DefaultScopes       []string      `placeholder:"SCOPE" help:"The scopes of a key whose document has none (absent or null)."`
	TrackUsage          bool          `default:"true" help:"Write down last_used and usage_count of keys that were VALID, in the background, every 10s. Needs the privilege update on the collection; off with --track-usage=false."`
	TLS                 TLSFiles      `embed:"" prefix:"tls-"`
	OpsTLS              TLSFiles      `embed:"" prefix:"ops-tls-"`
	AdminTLS            TLSFiles      `embed:"" prefix:"admin-tls-"`
	GRPCTLS             TLSFiles      `embed:"" prefix:"grpc-tls-"`
	Map                 Mapping       `embed:"" prefix:"map-"`
	// Policies are the requirements of forward-auth by name: the only setting that
	// is no flag, since it is a mapping. Parser.Policies has those of the file.
	Policies map[string]Policy `kong:"-"`
	File     string            `name:"config" placeholder:"FILE" help:"YAML file with any of these settings but this one."`
}

// TLSFiles are one listener's. Certificate and key come together; the zero value
// is plain HTTP. The files are read again when they change.
type TLSFiles struct {
	CertFile     string `placeholder:"FILE" help:"Certificate chain of this listener in PEM. Empty: plain HTTP."`
	KeyFile      string `placeholder:"FILE" help:"Private key of this listener in PEM."`
	ClientCAFile string `name:"client-ca-file" placeholder:"FILE" help:"Clients of this listener must show a certificate by one of these authorities, in PEM. Empty: none is asked for."`
}

// Policy is what forward-auth asks for under /v1/auth/policy/{name}. The zero
// value wants a valid key and no more.
type Policy struct {
	Scopes           []string
	OrgID, ProjectID string
}

// Mapping says how the documents of the collection are made: a field for each
// role, and the form of those that have more than one. A role that may be empty
// is then one that the collection does not have.
type Mapping struct {
	Hash         string `default:"key_hash" help:"Field: the SHA-256 hash of the key. Top-level, under a unique index."`
	HashEncoding string `default:"hex" help:"How the hash is written: hex, hex-upper, base64, base64-raw, base64url, base64url-raw (raw: without padding) or binary."`
	HashAfter    string `placeholder:"PREFIX" help:"The hash is of what follows this prefix of the key's text; a key without it is MALFORMED. Empty: of the whole text."`
	Active       string `default:"is_active" help:"Field: whether the key may be used."`
	ActiveForm   string `default:"boolean" help:"boolean; negated (the field says disabled); no-date (the field is the time of revocation, absent or null while the key may be used); always (there is no such field)."`
	UserID       string `name:"user-id" default:"user_id" help:"Field: whom the key speaks for."`
	OrgID        string `name:"org-id" default:"org_id" help:"Field: the organisation that the key is bound to. May be empty."`
	ProjectID    string `name:"project-id" default:"project_id" help:"Field: the project that the key is bound to. May be empty."`
	Name         string `default:"name" help:"Field: the key's name. May be empty."`
	Scopes       string `default:"scopes" help:"Field: what the key may be used for. May be empty: then every key has the default scopes."`
	ScopesForm   string `default:"array" help:"array, or text: separated by spaces."`
	AllowedIPs   string `name:"allowed-ips" default:"allowed_ips" help:"Field: addresses and networks that may use the key. May be empty."`
	ExpiresAt    string `default:"expires_at" help:"Field: when the key ends. May be empty."`
	ExpiresForm  string `default:"date" help:"date, unix (seconds) or unix-ms (milliseconds)."`
	Metadata     string `default:"metadata" help:"Field: a document that is passed on. May be empty."`
	KeyPrefix    string `default:"key_prefix" help:"Field: the beginning of the key's text, for people. May be empty."`
	CreatedAt    string `default:"created_at" help:"Field: when the key was made. May be empty."`
	LastUsed     string `default:"last_used" help:"Field: when the key was last used. Updates of it alone are ignored. May be empty."`
	UsageCount   string `default:"usage_count" help:"Field: how often the key was used. Updates of it alone are ignored. May be empty."`
	IDForm       string `name:"id-form" default:"string" help:"How the admin API writes ids of users, organisations and projects: string, objectid, uuid or integer. All of them are read."`
}

// devDatabase is where --dev keeps the sample keys unless --database says
// otherwise.
const devDatabase = "keytail"

// Complete fills in what depends on other settings: the database of the URI, a
// heartbeat that is often enough for max-stale, no field of the switch where there
// is none, and with --dev what a newcomer wants wherever nothing else was given.
func (c *Config) Complete(given Given) {
	if c.Database == "" {
		c.Database = uriDatabase(c.MongoDBURI)
	}
	if !given["heartbeat-interval"] {
		c.HeartbeatInterval = shorter(c.HeartbeatInterval, c.MaxStale)
	}
	if c.Map.ActiveForm == "always" && !given["map-active"] {
		c.Map.Active = ""
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
