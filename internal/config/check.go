package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// maxMaxStale: heartbeats of instances that are gone are deleted after 24 h,
	// so the bound must be far below that
	// (docs/design.md#the-heartbeat-document).
	maxMaxStale = time.Hour
	// minHeartbeat and heartbeatParts bound the interval of the heartbeat: two
	// heartbeats can fail before answers from the cache stop, and the load stays
	// small. Package changestream has the same bounds, for programs that embed
	// keytail.
	minHeartbeat   = 10 * time.Millisecond
	heartbeatParts = 3
	// minMaxStale has space for the shortest interval.
	minMaxStale = heartbeatParts * minHeartbeat
	// maxDrainDelay: an orchestrator would kill the process much earlier.
	maxDrainDelay = 5 * time.Minute
	// maxAuditInterval: an audit that runs less than daily reports a problem too
	// late.
	maxAuditInterval = 24 * time.Hour
	// minExpiryNotice is the default audit-interval, the resolution of the notice.
	// maxExpiryNotice is a year: a list of more keys is none of things to do.
	minExpiryNotice, maxExpiryNotice = time.Hour, 365 * 24 * time.Hour
	// minCacheMiB is keycache's minimum; a test of package cli compares the two.
	minCacheMiB = 3
	// maxCacheMiB is 1 TiB: more is a mistake in the unit.
	maxCacheMiB = 1 << 20
	// maxNameBytes is MongoDB's limit for a database name.
	maxNameBytes = 63
	// maxNamespaceBytes is MongoDB's limit for <database>.<collection>.
	maxNamespaceBytes = 255
)

// Check reports everything that is wrong with the values, one error for each
// mistake. Call Complete first. (kong would call a Validate before that.)
func (c *Config) Check() error {
	return errors.Join(
		c.checkServer(),
		c.checkDatabase(),
		c.checkCollection(),
		c.checkScope(),
		c.checkListeners(),
		c.checkTokenFiles(),
		c.checkDefaultScopes(),
		c.checkDev(),
		c.checkAges(),
		c.checkConnections(),
		between("drain-delay", c.DrainDelay, 0, maxDrainDelay, "between 0 and 5m"),
		between("cache-size", c.CacheSize, minCacheMiB, maxCacheMiB, "between 3 and 1048576 MiB"),
		oneOf("read-preference", c.ReadPreference, "primary", "primaryPreferred", "secondaryPreferred", "secondary", "nearest"),
		c.checkUsageInterval(),
		oneOf("preload", c.Preload, "auto", "on", "off"),
		between("audit-interval", c.AuditInterval, time.Second, maxAuditInterval, "between 1s and 24h"),
		between("expiry-notice", c.ExpiryNotice, minExpiryNotice, maxExpiryNotice, "between 1h and 8760h"),
		named("key-prefix", apikey.ValidPrefix(c.KeyPrefix)),
		oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error"),
		oneOf("log-format", c.LogFormat, "json", "console"),
	)
}

// checkServer requires a server: keytail never falls back to an in-memory one.
func (c *Config) checkServer() error {
	switch {
	case c.Dev && c.MongoDBPasswordFile != "":
		return errors.New("--mongodb-password-file and --dev exclude each other: the in-memory MongoDB has no passwords")
	case c.MongoDBURI != "" && c.Dev:
		return errors.New("--mongodb-uri and --dev exclude each other: --dev brings its own in-memory MongoDB")
	case c.MongoDBURI == "" && !c.Dev:
		return errors.New("give --mongodb-uri (KEYTAIL_MONGODB_URI) for a real replica set, or --dev to try keytail with an in-memory one")
	case c.Dev:
		return nil
	}
	if err := checkURI(c.MongoDBURI); err != nil || c.MongoDBPasswordFile == "" {
		return err
	}
	return checkPasswordFile(c.MongoDBURI)
}

func (c *Config) checkDatabase() error {
	switch {
	case c.Database == "" && checkURI(c.MongoDBURI) == nil:
		return errors.New("no database is given: set --database (KEYTAIL_DATABASE), or add it to the path of the URI")
	case c.Database == "":
		return nil // checkServer reports it
	case len(c.Database) > maxNameBytes, strings.ContainsAny(c.Database, "/\\. \"$*<>:|?\x00"):
		return errors.New(`--database must have at most 63 bytes and none of the characters /\. "$*<>:|?`)
	case c.Database == "admin", c.Database == "config", c.Database == "local":
		return fmt.Errorf("--database cannot be %s: MongoDB opens no change stream there", c.Database)
	}
	return nil
}

func (c *Config) checkCollection() error {
	switch {
	case c.Collection == "":
		return errors.New("--collection must not be empty")
	case strings.ContainsAny(c.Collection, "$\x00"), strings.HasPrefix(c.Collection, "system."), strings.HasPrefix(c.Collection, "."):
		return errors.New("--collection must not contain '$', and must not begin with 'system.' or '.'")
	case c.ownsState() && (c.Collection == "keytail_heartbeats" || c.Collection == "keytail_audit"):
		return fmt.Errorf("--collection cannot be %s: it is one of keytail's own collections", c.Collection)
	case len(c.Database)+1+len(c.Collection) > maxNamespaceBytes:
		return errors.New("--database and --collection together must have at most 254 bytes")
	}
	return nil
}

// checkAges checks the interval only against a valid max-stale.
func (c *Config) checkAges() error {
	if err := between("max-stale", c.MaxStale, minMaxStale, maxMaxStale, "at least 30ms and at most 1h"); err != nil {
		return err
	}
	most := c.MaxStale / heartbeatParts
	if c.HeartbeatInterval == 0 {
		return nil
	}
	return between("heartbeat-interval", c.HeartbeatInterval, minHeartbeat, most, fmt.Sprintf("between 10ms and a third of max-stale (%v)", most))
}

// checkUsageInterval: below the ten seconds between two flushes it would change nothing.
func (c *Config) checkUsageInterval() error {
	if c.UsageInterval == 0 {
		return nil
	}
	return between("usage-interval", c.UsageInterval, 10*time.Second, 24*time.Hour, "between 10s and 24h, or 0")
}

func (c *Config) checkDev() error {
	if !c.Dev {
		return nil
	}
	var production error
	for _, name := range []string{"KEYTAIL_ENV", "ENVIRONMENT"} {
		if strings.EqualFold(strings.TrimSpace(os.Getenv(name)), "production") {
			production = fmt.Errorf("--dev is refused because %s is production: its keys are public and nothing is stored", name)
			break
		}
	}
	addr := address("dev-mongodb-addr", c.DevMongoDBAddr)
	if addr == nil && !Loopback(c.DevMongoDBAddr) {
		addr = errors.New("--dev-mongodb-addr must be a loopback address, such as 127.0.0.1:27127")
	}
	var algorithm error
	if c.Map.HashAlgorithm == string(apikey.HMACSHA256) {
		algorithm = errors.New("--dev and --map-hash-algorithm hmac-sha256 exclude each other: its sample keys are stored as sha256")
	}
	return errors.Join(production, addr, algorithm)
}

// Loopback reports whether only this machine can connect to an address of the
// form host:port, or to a Unix socket.
func Loopback(addr string) bool {
	if _, is := UnixSocket(addr); is {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// address checks host:port. An empty host means every interface; port 0 a free
// one.
func address(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%s must be host:port, such as 127.0.0.1:8080, not %s", flag, quote(addr))
	}
	return nil
}

func between[T time.Duration | int](flag string, value, low, high T, text string) error {
	if value < low || value > high {
		return fmt.Errorf("--%s must be %s, not %v", flag, text, value)
	}
	return nil
}

func oneOf(flag, value string, allowed ...string) error {
	for _, word := range allowed {
		if value == word {
			return nil
		}
	}
	return fmt.Errorf("--%s must be one of %s, not %s", flag, strings.Join(allowed, ", "), quote(value))
}

func named(flag string, err error) error {
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}
