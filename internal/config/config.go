// Package config is keytail's configuration: one struct whose fields are at the same
// time flags, environment variables and keys of a YAML file.
//
// The command line overrides the environment, the environment the file, and the file
// the default. All mistakes are collected and reported together. No error contains a
// secret of a MongoDB URI.
package config

import (
	"slices"
	"time"
)

// EnvPrefix is the prefix of every environment variable: --max-stale is
// KEYTAIL_MAX_STALE.
const EnvPrefix = "KEYTAIL"

// Config has all settings. The tags are kong's. The defaults are only there, and
// docs/configuration.md is generated from them (Markdown).
type Config struct {
	MongoDBURI          string        `name:"mongodb-uri" placeholder:"URI" help:"Connection string of the replica set with the keys. Required, except with --dev."`
	Database            string        `placeholder:"NAME" help:"The database with the keys. Default: the one in the path of the URI."`
	Collection          string        `default:"api_keys" help:"The collection with the keys."`
	EnsureSchema        bool          `help:"Create the collection and its unique index at start if they do not exist, and, after the start, the indexes for the lists of the admin API. Without it, keytail only reports what is missing."`
	Addr                string        `default:"127.0.0.1:8080" help:"Public listener: verify, forward-auth, livez. An address, or unix:/path for a Unix socket."`
	OpsAddr             string        `default:"127.0.0.1:9090" help:"Operations listener: livez, readyz, metrics."`
	MaxStale            time.Duration `default:"15s" help:"Maximum staleness of an answer from the cache. From 30ms to 1h."`
	HeartbeatInterval   time.Duration `default:"0s" help:"How often an instance writes its heartbeat. Its round trip through the change stream proves that answers from the cache are fresh. From 10ms to a third of max-stale. 0: every second, or a third of max-stale if that is shorter, and 5ms for each instance in a fleet of more than 200, up to a fifth of max-stale."`
	ReadPreference      string        `default:"primary" help:"Which members serve the change stream, scans, audits and refreshes: primary, primaryPreferred, secondaryPreferred, secondary or nearest. The heartbeat's round trip proves how old answers are, whichever member serves. What a request waits for is read from the primary."`
	CacheSize           int           `default:"512" help:"Maximum size of the cache in MiB, at least 3. The index, decoded records and what scans remember come on top: give the process 1.75 times as much and 128 MiB. A MiB holds at least 5700 keys of ordinary size (140 bytes), or 5600 with --preload off. keytail doctor says how many of your keys fit."`
	Preload             string        `default:"auto" help:"Whether to load every key into the cache, so that an unknown key costs no read: auto (if they fit), on or off."`
	AuditInterval       time.Duration `default:"1h" help:"How often the cache is compared with the database. From 1s to 24h."`
	ExpiryNotice        time.Duration `default:"336h" help:"How long before its expiry a key is counted by keytail_keys_expiring and reported by an event, 14 days by default. From 1h to 8760h."`
	KeyPrefix           string        `default:"kt" help:"Prefix of keys that keytail creates. Only keys with this prefix must have a valid checksum."`
	KeySources          []string      `default:"bearer,x-api-key" help:"Where forward-auth looks for the key: bearer, x-api-key, header:NAME, query:NAME, cookie:NAME."`
	TrustedProxies      []string      `placeholder:"CIDR" help:"Networks of proxies whose X-Forwarded-For is trusted. Default: none; the client is the peer."`
	ForwardAuth         bool          `default:"true" help:"Serve forward-auth (/v1/auth) on the public listener. Disable it with --forward-auth=false if no proxy uses it."`
	AuthCallerNetworks  []string      `placeholder:"CIDR" help:"Networks of the proxies that may send forward-auth requests, by the address of the connection. All others get 403. Default: everyone who can connect to the public listener."`
	AuthHeaders         []string      `placeholder:"NAME" help:"Which of X-Auth-Key-Id, X-Auth-User-Id, X-Auth-Org-Id, X-Auth-Project-Id and X-Auth-Scopes an allowed request gets. Each of these is then in every answer, empty without a value, and the others are not used. Default: those that have a value."`
	TraceCallerNetworks []string      `placeholder:"CIDR" help:"Networks of callers that set traceparent themselves, such as proxies with tracing. Their traces are continued, sampled or not as they say; so are those of callers with a token. Other requests begin a trace of their own. Default: none."`
	DrainDelay          time.Duration `default:"5s" help:"How long readyz answers 503 before the listeners close. 0 with --dev. At most 5m."`
	Dev                 bool          `help:"Start with an in-memory MongoDB, 200 sample keys and an admin token, and print commands to try. A default port that is in use is replaced by a free one. Nothing is stored. Refused in production."`
	DevMongoDBAddr      string        `name:"dev-mongodb-addr" default:"127.0.0.1:27127" help:"Address of the in-memory MongoDB of --dev. If the port is in use, a free one is used."`
	LogLevel            string        `default:"info" help:"debug, info, warn or error."`
	LogFormat           string        `default:"json" help:"json or console. console with --dev."`
	DecisionLog         string        `placeholder:"FILE" help:"File to which a line of JSON is appended for each answer about a key, or - for standard output. SIGHUP opens it again, for programs that rotate logs. Empty: off."`
	DecisionLogAccepts  float64       `default:"0.01" placeholder:"RATIO" help:"The share of VALID answers in the decision log, from 0 (none) to 1 (all). Refusals are always in it."`
	DecisionLogMask     []string      `placeholder:"FIELD" help:"Fields whose values the decision log replaces by [masked]: request_id, trace_id, reason, key_id, user_id, instance."`
	StreamScope         string        `default:"database" help:"What the change stream watches: database, or collection if the database user may watch only the keys."`
	StateDatabase       string        `placeholder:"NAME" help:"The database of keytail's own collections (heartbeats, audit). A database other than that of the keys needs --stream-scope collection. Default: the database of the keys."`
	MongoDBPasswordFile string        `name:"mongodb-password-file" placeholder:"FILE" help:"File with the password of the user in the URI, so that the URI contains no secret."`
	AdminAddr           string        `default:"127.0.0.1:9091" help:"Admin listener: status page, admin API. It needs --admin-token-file, and TLS unless the address is a loopback address."`
	AdminTokenFile      string        `placeholder:"FILE" help:"File with the tokens for the admin listener: lines of name=token role=viewer, operator or admin, and more attributes. Read again when it changes. With --dev, the default is a file with a new token."`
	AdminAuditReads     bool          `default:"true" help:"Write an entry into the audit for each read of keys by the admin API, before the answer: a read without an entry fails. Disable it with --admin-audit-reads=false. Changes and failed logins are always in the audit."`
	CallerTokenFile     string        `placeholder:"FILE" help:"File with the tokens for verify, sync and events: lines of name=token, with expires= if it should end. Read again when it changes. Default: verify needs no token, and the others are disabled."`
	GRPCAddr            string        `name:"grpc-addr" placeholder:"ADDR" help:"gRPC listener: Envoy's ext_authz, health. An address, or unix:/path for a Unix socket. Empty: disabled."`
	GRPCReflection      bool          `name:"grpc-reflection" help:"Describe the services of the gRPC listener to everyone who connects, for tools such as grpcurl."`
	UnixSocketMode      string        `default:"0660" placeholder:"OCTAL" help:"Mode of the files of Unix sockets: who may write to the file may connect. With 0660, these are keytail's user and group."`
	MaxConnections      int           `default:"0" help:"Maximum number of connections of the public listener, and of the gRPC listener. 0: as many as the limit of open files leaves after a reserve for MongoDB, operations and admin, at most 8192. Else at least 16."`
	HideCredentials     bool          `help:"Let Envoy remove the key from an allowed request (ext_authz over gRPC). Other proxies do that with their own configuration, see examples."`
	DefaultScopes       []string      `placeholder:"SCOPE" help:"The scopes of a key whose document has no scopes (absent or null)."`
	TrackUsage          bool          `default:"true" help:"Write last_used and usage_count of keys that were VALID, in the background. Needs the privilege update on the collection. Disable it with --track-usage=false."`
	UsageInterval       time.Duration `default:"0s" help:"How often an instance writes the use of one key, at most. The first use after such a time is written within 10s. From 10s to 24h. 0: 3s for each instance of the fleet, from 1m to 1h."`
	RequireBinding      bool          `help:"Refuse a key that is bound to an organisation or a project (FORBIDDEN) if the request does not name it. Without it, such a request is for the key's own organisation and project."`
	TLS                 TLSFiles      `embed:"" prefix:"tls-"`
	OpsTLS              TLSFiles      `embed:"" prefix:"ops-tls-"`
	AdminTLS            TLSFiles      `embed:"" prefix:"admin-tls-"`
	GRPCTLS             TLSFiles      `embed:"" prefix:"grpc-tls-"`
	Map                 Mapping       `embed:"" prefix:"map-"`
	// Policies are the requirements of forward-auth by name: the only setting
	// that is not a flag, because it is a mapping. Parser.Policies has those of
	// the file.
	Policies map[string]Policy `kong:"-"`
	File     string            `name:"config" placeholder:"FILE" help:"YAML file with any of these settings except this one."`
}

// TLSFiles are the files of one listener. Certificate and key belong together;
// the zero value is plain HTTP. The files are read again when they change.
type TLSFiles struct {
	CertFile     string `placeholder:"FILE" help:"Certificate chain of this listener, in PEM. Empty: plain HTTP."`
	KeyFile      string `placeholder:"FILE" help:"Private key of this listener in PEM."`
	ClientCAFile string `name:"client-ca-file" placeholder:"FILE" help:"CA certificates, in PEM. Clients of this listener must present a certificate that one of them signed. Empty: clients need no certificate."`
}

// Policy is what forward-auth requires under /v1/auth/policy/{name}. The zero
// value requires a valid key and nothing more.
type Policy struct {
	Scopes           []string
	OrgID, ProjectID string
	// RequireOrg and RequireProject refuse a key that is bound if OrgID (ProjectID) is empty.
	RequireOrg, RequireProject bool
}

// Mapping describes the documents of the collection: a field for each role, and
// the form of fields that have more than one. If a role that may be empty is
// empty, the collection does not have it. keytail.Mapping has the same fields
// except HashSecretFile; this type exists because its tags are flags, which the
// embeddable package must not have.
type Mapping struct {
	Hash           string `default:"key_hash" help:"Field: the hash of the key. Top-level, under a unique index."`
	HashAlgorithm  string `default:"sha256" help:"How the hash was made: sha256, or hmac-sha256 with --map-hash-secret-file."`
	HashSecretFile string `placeholder:"FILE" help:"File with the secret (the pepper) of hmac-sha256: its bytes without one newline at the end. Other users must not have access to it. A change needs a restart."`
	HashEncoding   string `default:"hex" help:"How the hash is written: hex, hex-upper, base64, base64-raw, base64url, base64url-raw (raw: without padding) or binary."`
	HashAfter      string `placeholder:"PREFIX" help:"The hash covers what follows this prefix of the key's text; a key without the prefix is MALFORMED. Empty: the hash covers the whole text."`
	Active         string `default:"is_active" help:"Field: whether the key is active."`
	ActiveForm     string `default:"boolean" help:"boolean; negated (true means disabled); no-date (the time of revocation, absent or null while the key is active); always (there is no such field)."`
	UserID         string `name:"user-id" default:"user_id" help:"Field: the user for whom the key acts."`
	UserIDForm     string `name:"user-id-form" default:"string" help:"The BSON type with which the admin API writes ids of users: string, objectid, uuid or integer. Reading accepts all of them."`
	OrgID          string `name:"org-id" default:"org_id" help:"Field: the organisation that the key is bound to. May be empty."`
	OrgIDForm      string `name:"org-id-form" default:"string" help:"The same for ids of organisations."`
	ProjectID      string `name:"project-id" default:"project_id" help:"Field: the project that the key is bound to. May be empty."`
	ProjectIDForm  string `name:"project-id-form" default:"string" help:"The same for ids of projects."`
	Name           string `default:"name" help:"Field: the key's name. May be empty."`
	Scopes         string `default:"scopes" help:"Field: the scopes of the key. May be empty: then every key has the default scopes."`
	ScopesForm     string `default:"array" help:"array, or text (separated by spaces)."`
	AllowedIPs     string `name:"allowed-ips" default:"allowed_ips" help:"Field: client addresses and networks that may use the key. May be empty."`
	ExpiresAt      string `default:"expires_at" help:"Field: when the key expires. May be empty."`
	ExpiresForm    string `default:"date" help:"date, unix (seconds) or unix-ms (milliseconds)."`
	Metadata       string `default:"metadata" help:"Field: a document that is part of the verdict. May be empty."`
	KeyPrefix      string `default:"key_prefix" help:"Field: the beginning of the key's text, for people. May be empty."`
	CreatedAt      string `default:"created_at" help:"Field: when the key was created. May be empty."`
	LastUsed       string `default:"last_used" help:"Field: when the key was last used. It decides nothing. May be empty."`
	UsageCount     string `default:"usage_count" help:"Field: how often the key was used. It decides nothing. May be empty."`
}

// devDatabase has the sample keys of --dev unless --database is given.
const devDatabase = "keytail"

// Complete sets what depends on other settings: the database of the URI, no field for active if there is none, no
// form where none was given (package keystore has the same defaults, and trusts a
// form more that the operator gave), and, with --dev, defaults for a first try
// wherever nothing else was given.
func (c *Config) Complete(given Given) {
	if c.Database == "" {
		c.Database = uriDatabase(c.MongoDBURI)
	}
	if !given["map-active-form"] {
		c.Map.ActiveForm = ""
	}
	if !given["map-expires-form"] {
		c.Map.ExpiresForm = ""
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

// Given has the names of the flags that the command line, the environment or the
// file sets.
type Given map[string]bool

// Names are the given flags in alphabetical order. A log shows these, because the
// values may be secret.
func (g Given) Names() []string {
	names := make([]string, 0, len(g))
	for name := range g {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
