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
	// maxMaxStale: instances that are gone are forgotten after 24 h, so the bound
	// must be far below that (docs/design.md, "Decisions").
	maxMaxStale = time.Hour
	// minHeartbeat and heartbeatParts bound the heartbeat: often enough that two
	// can fail before answers from the cache stop, and no load. changestream has
	// the same bounds, for those who embed keytail.
	minHeartbeat   = 10 * time.Millisecond
	heartbeatParts = 3
	// minMaxStale leaves room for the shortest heartbeat.
	minMaxStale = heartbeatParts * minHeartbeat
	// maxDrainDelay: an orchestrator has killed the process long before.
	maxDrainDelay = 5 * time.Minute
	// maxAuditInterval: an audit that is rarer than daily says nothing in time.
	maxAuditInterval = 24 * time.Hour
	// minCacheMiB is what keycache takes; a test of package cli compares the two.
	minCacheMiB = 3
	// maxCacheMiB is 1 TiB: more is a mistake in the unit.
	maxCacheMiB = 1 << 20
	// maxNameBytes is MongoDB's limit for a database name.
	maxNameBytes = 63
	// maxNamespaceBytes is MongoDB's limit for <database>.<collection>.
	maxNamespaceBytes = 255
)

// Check says everything that is wrong with the values, one sentence a
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
		between("drain-delay", c.DrainDelay, 0, maxDrainDelay, "between 0 and 5m"),
		between("cache-size", c.CacheSize, minCacheMiB, maxCacheMiB, "between 3 and 1048576 MiB"),
		oneOf("preload", c.Preload, "auto", "on", "off"),
		between("audit-interval", c.AuditInterval, time.Second, maxAuditInterval, "between 1s and 24h"),
		named("key-prefix", apikey.ValidPrefix(c.KeyPrefix)),
		oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error"),
		oneOf("log-format", c.LogFormat, "json", "console"),
	)
}

// checkServer: keytail never falls back to memory by itself.
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
		return errors.New("no database is given: name it with --database (KEYTAIL_DATABASE) or in the path of the URI")
	case c.Database == "":
		return nil // checkServer has said what is wrong
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
		return errors.New("--collection must not have a '$', and must not begin with 'system.' or '.'")
	case c.ownsState() && (c.Collection == "keytail_heartbeats" || c.Collection == "keytail_audit"):
		return fmt.Errorf("--collection cannot be %s: keytail writes there itself", c.Collection)
	case len(c.Database)+1+len(c.Collection) > maxNamespaceBytes:
		return errors.New("--database and --collection together must have at most 254 bytes")
	}
	return nil
}

// checkAges: an interval is only held against a max-stale that is right.
func (c *Config) checkAges() error {
	if err := between("max-stale", c.MaxStale, minMaxStale, maxMaxStale, "at least 30ms and at most 1h"); err != nil {
		return err
	}
	most := c.MaxStale / heartbeatParts
	return between("heartbeat-interval", c.HeartbeatInterval, minHeartbeat, most, fmt.Sprintf("between 10ms and a third of max-stale (%v)", most))
}

func (c *Config) checkDev() error {
	if !c.Dev {
		return nil
	}
	var production error
	for _, name := range []string{"KEYTAIL_ENV", "ENVIRONMENT"} {
		if strings.EqualFold(strings.TrimSpace(os.Getenv(name)), "production") {
			production = fmt.Errorf("--dev is refused because %s is production: its keys are public and nothing is kept", name)
			break
		}
	}
	addr := address("dev-mongodb-addr", c.DevMongoDBAddr)
	if addr == nil && !Loopback(c.DevMongoDBAddr) {
		addr = errors.New("--dev-mongodb-addr must be a loopback address, such as 127.0.0.1:27127")
	}
	return errors.Join(production, addr)
}

// Loopback reports whether an address of the form host:port can be reached from
// this machine only.
func Loopback(addr string) bool {
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
