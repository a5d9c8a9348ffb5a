package mongoclient

import (
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

const (
	// appName is how MongoDB's logs and currentOp name our connections.
	appName = "keytail"
	// maxPoolSize is the driver's default, written down because fills and direct
	// reads are capped below it (Settings.MaxReads).
	maxPoolSize = 100
	// connectionsBesides are held by the stream, the heartbeat, the refresh and
	// the scan.
	connectionsBesides = 4
	// fewReads is how few reads at once are worth a line in the log.
	fewReads = 16
)

// bounds of a time in a connection string, and what is used instead of one that
// is outside.
type bounds struct{ least, most, otherwise time.Duration }

var (
	// selections: reads have deadlines of their own, and the tail tries again for
	// ever. The driver's 30 s would only make a wrong address at start look like a
	// hang. Within less than a second a first connection with TLS and a login may
	// fail on a busy machine.
	selections = bounds{time.Second, 30 * time.Second, 5 * time.Second}
	// connectTimeouts: the driver makes two connections at a time and lets each
	// take its 30 s. Two whose greeting was lost in a network that failed for a
	// moment would keep all reads waiting long after it is well again.
	connectTimeouts = bounds{500 * time.Millisecond, 10 * time.Second, 3 * time.Second}
	// serverChecks is how often the driver's monitor hears from the server, and how
	// long the server may keep its question. With the driver's 10 s, an error that
	// names no topologyVersion, or a monitor's connection that has gone silent,
	// makes the server unknown to all reads and heartbeats for as long: most of a
	// max-stale. (The driver refuses less than 500 ms; we do not.)
	serverChecks = bounds{500 * time.Millisecond, 10 * time.Second, 2 * time.Second}
)

// Settings are those of a client by a connection string.
type Settings struct {
	// Options make the client.
	Options *options.ClientOptions
	// MaxReads is how many reads of keys may run at once: the pool without the
	// connections that other things need, so that no read waits for one.
	MaxReads int64
	// Notes are sentences for the log: what is not done as the string says. None
	// shows a value that could be secret.
	Notes []string

	names *setNames
}

// ForURI makes settings of a connection string by Table. The error is a sentence
// that shows no secret of the string.
func ForURI(uri string) (*Settings, error) {
	if err := CheckURI(uri); err != nil {
		return nil, err
	}
	s := &Settings{
		Options: options.Client().
			SetAppName(appName).
			SetMaxPoolSize(maxPoolSize).
			SetServerSelectionTimeout(selections.otherwise).
			SetConnectTimeout(connectTimeouts.otherwise).
			SetHeartbeatInterval(serverChecks.otherwise).
			ApplyURI(uri),
		Notes: notes(uri),
	}
	// Before the driver sees them: it refuses a heartbeatFrequencyMS below 500
	s.limit()
	if err := s.Options.Validate(); err != nil {
		return nil, fmt.Errorf("--mongodb-uri cannot be used: %s", withoutSecrets(err.Error(), uri))
	}
	// A DNS record of mongodb+srv can say it, too
	if s.Options.LoadBalanced != nil && *s.Options.LoadBalanced {
		return nil, errors.New(loadBalanced("true"))
	}
	s.override()
	s.MaxReads = s.maxReads()
	s.names = newSetNames(s.Options)
	return s, nil
}

// Connect makes the client of the connection string that the settings were made
// of. Nothing is asked of the server yet.
func (s *Settings) Connect(uri string) (*mongo.Client, error) {
	client, err := mongo.Connect(s.Options)
	if err != nil {
		return nil, fmt.Errorf("no MongoDB client can be made: %s", withoutSecrets(err.Error(), uri))
	}
	return client, nil
}

// override is the rows that are Overridden. Each handle says the same again
// (Database); here it covers what has no handle.
func (s *Settings) override() {
	s.Options.
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority()).
		SetRetryReads(true).
		SetRetryWrites(true)
}

// limit is the rows that are Limited, but for the pool.
func (s *Settings) limit() {
	for name, l := range map[string]struct {
		value *time.Duration
		bounds
	}{
		"connectTimeoutMS":         {s.Options.ConnectTimeout, connectTimeouts},
		"heartbeatFrequencyMS":     {s.Options.HeartbeatInterval, serverChecks},
		"serverSelectionTimeoutMS": {s.Options.ServerSelectionTimeout, selections},
	} {
		if given := *l.value; given < l.least || given > l.most {
			*l.value = l.otherwise
			s.note("--mongodb-uri sets %s to %d, which is not between %d and %d: %d is used instead",
				name, given.Milliseconds(), l.least.Milliseconds(), l.most.Milliseconds(), l.otherwise.Milliseconds())
		}
	}
}

// maxReads treats a pool without a limit (0) as one of our own size.
func (s *Settings) maxReads() int64 {
	pool := int64(*s.Options.MaxPoolSize)
	if pool == 0 {
		pool = maxPoolSize
	}
	reads := pool - connectionsBesides
	if reads < fewReads {
		s.note("--mongodb-uri sets maxPoolSize to %d, so that at most %d keys are read from the database at once, and more are answered 503: leave maxPoolSize out for the default, %d", pool, reads, maxPoolSize)
	}
	return reads
}

func (s *Settings) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}
