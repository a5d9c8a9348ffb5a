package mongoclient

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// DefaultPoolSize keeps the connections of a thousand instances, all with a full pool, below the
// 65,536 that a mongod accepts by default; at a millisecond a read it is 42,000 reads a second for
// each instance. (The driver's default is 100.)
const DefaultPoolSize = 50

const (
	// appName is how MongoDB's logs and currentOp name keytail's connections.
	appName = "keytail"
	// maxPoolSize: the number of fills and direct reads is limited to less
	// (Settings.MaxReads).
	maxPoolSize = DefaultPoolSize
	// maxIdleTime closes the connections that a burst of reads has opened. The driver's default
	// keeps them forever.
	maxIdleTime = time.Minute
	// reservedConnections are for what uses the pool beside the reads of keys, each one
	// connection at a time: the change stream, the heartbeat, the list of instances, the
	// scan with its audit, the refresh, the writes of uses, the watch over the unique index,
	// and a request of the admin API with its audit entry.
	reservedConnections = 8
	// lowMaxReads is the limit below which a small number of reads is worth a
	// log line.
	lowMaxReads = 16
)

// bounds limit a time in a connection string. fallback replaces a time outside
// of them.
type bounds struct{ min, max, fallback time.Duration }

var (
	// selectionTimeouts: reads have their own deadlines, and the tail tries
	// again forever. With the driver's 30 s, a wrong address would only make a
	// start look as if it hangs. With less than a second, a first connection
	// with TLS and a login may fail on a busy machine.
	selectionTimeouts = bounds{time.Second, 30 * time.Second, 5 * time.Second}
	// connectTimeouts: the driver makes two connections at a time and gives
	// each its 30 s. If the hello of both was lost in a network that failed for
	// a moment, all reads would keep waiting long after the network has
	// recovered.
	connectTimeouts = bounds{500 * time.Millisecond, 10 * time.Second, 3 * time.Second}
	// heartbeatIntervals limit how often the driver's monitor gets a reply of
	// the server, and how long the server may delay its reply. With the
	// driver's 10 s, an error without a topologyVersion, or a monitor's
	// connection that has gone silent, makes the server unknown to all reads
	// and heartbeats for that long, which is most of a max-stale. (The driver
	// rejects less than 500 ms; keytail does not.)
	heartbeatIntervals = bounds{500 * time.Millisecond, 10 * time.Second, 2 * time.Second}
)

// Settings are the settings of a client from a connection string.
type Settings struct {
	// Options make the client.
	Options *options.ClientOptions
	// MaxReads is how many reads of keys may run concurrently: the pool size
	// without the connections that other parts need, so that no read waits for
	// a connection.
	MaxReads int64
	// Notes are sentences for the log: options of the string that keytail does
	// not follow. None contains a value that could be secret.
	Notes []string

	// given is the read preference of the connection string. Nil: it has none.
	given   *readpref.ReadPref
	names   *setNames
	members *members
}

// ForURI makes the settings from a connection string by OptionTable. The error
// is a sentence that contains no secret of the string.
func ForURI(uri string) (*Settings, error) {
	if err := CheckURI(uri); err != nil {
		return nil, err
	}
	s := &Settings{
		Options: options.Client().
			SetAppName(appName).
			SetMaxPoolSize(maxPoolSize).
			SetMaxConnIdleTime(maxIdleTime).
			SetServerSelectionTimeout(selectionTimeouts.fallback).
			SetConnectTimeout(connectTimeouts.fallback).
			SetHeartbeatInterval(heartbeatIntervals.fallback).
			ApplyURI(uri),
		Notes: notes(uri),
	}
	// Before the driver validates them: it rejects a heartbeatFrequencyMS below
	// 500
	s.limit()
	if err := s.Options.Validate(); err != nil {
		return nil, fmt.Errorf("--mongodb-uri cannot be used: %s", redactSecrets(err.Error(), uri))
	}
	// A DNS record of mongodb+srv can set it, too
	if s.Options.LoadBalanced != nil && *s.Options.LoadBalanced {
		return nil, errors.New(checkLoadBalanced("true"))
	}
	s.given = s.Options.ReadPreference
	s.override()
	s.MaxReads = s.maxReads()
	s.noteUnencrypted()
	s.watchServers(s.Options)
	return s, nil
}

// Connect makes the client of the connection string from which the settings
// were made. It does not wait for the server.
func (s *Settings) Connect(uri string) (*mongo.Client, error) {
	client, err := mongo.Connect(s.Options)
	if err != nil {
		return nil, fmt.Errorf("the MongoDB client could not be created: %s", redactSecrets(err.Error(), uri))
	}
	return client, nil
}

// override sets the options that are Overridden. Each handle sets them again
// (Database); here they apply to everything that has no handle.
func (s *Settings) override() {
	s.Options.
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority()).
		SetRetryReads(true).
		SetRetryWrites(true)
}

// limit replaces the values of Limited options that are out of bounds, except
// for the pool size.
func (s *Settings) limit() {
	for name, l := range map[string]struct {
		value *time.Duration
		bounds
	}{
		"connectTimeoutMS":         {s.Options.ConnectTimeout, connectTimeouts},
		"heartbeatFrequencyMS":     {s.Options.HeartbeatInterval, heartbeatIntervals},
		"serverSelectionTimeoutMS": {s.Options.ServerSelectionTimeout, selectionTimeouts},
	} {
		if given := *l.value; given < l.min || given > l.max {
			*l.value = l.fallback
			s.note("--mongodb-uri sets %s to %d, which is not between %d and %d: %d is used instead",
				name, given.Milliseconds(), l.min.Milliseconds(), l.max.Milliseconds(), l.fallback.Milliseconds())
		}
	}
}

// maxReads treats a pool without a limit (0) as one of the default size.
func (s *Settings) maxReads() int64 {
	pool := int64(*s.Options.MaxPoolSize)
	if pool == 0 {
		pool = maxPoolSize
	}
	reads := pool - reservedConnections
	if reads < lowMaxReads {
		s.note("--mongodb-uri sets maxPoolSize to %d, so at most %d keys are read from the database concurrently, and further requests get 503: remove maxPoolSize for the default, %d", pool, reads, maxPoolSize)
	}
	return reads
}

// noteUnencrypted: without TLS, keytail cannot know that it talks to its own servers.
func (s *Settings) noteUnencrypted() {
	if s.Options.TLSConfig != nil || !slices.ContainsFunc(s.Options.Hosts, isRemote) {
		return
	}
	s.note("--mongodb-uri connects to another machine without TLS, so whoever can change what crosses that network can make any key valid: enable TLS on the servers and add tls=true")
}

// isRemote reports whether a host of a connection string is another machine. A Unix
// socket is not.
func isRemote(host string) bool {
	if strings.HasSuffix(host, ".sock") {
		return false
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host != "localhost" && (err != nil || !ip.Unmap().IsLoopback())
}

// Pool is the most connections that the client has to one member at a time, besides those
// with which the driver monitors it. A pool without a limit counts as MaxReads does.
func (s *Settings) Pool() int { return int(s.MaxReads) + reservedConnections }

func (s *Settings) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}
