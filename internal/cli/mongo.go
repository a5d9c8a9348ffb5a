package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/reload"
)

const (
	// appName is how MongoDB's logs and currentOp name our connections.
	appName = "keytail"
	// maxPoolSize is the driver's default, written down because fills and direct
	// reads are capped below it (DESIGN.md section 3).
	maxPoolSize = 100
	// connectionsBesides are held by the stream, the heartbeat, the refresh and
	// the scan.
	connectionsBesides = 4
	// serverSelectionTimeout: reads have deadlines of their own, and the tail tries
	// again for ever. The driver's 30 s would only make a wrong address at start
	// look like a hang.
	serverSelectionTimeout = 5 * time.Second
	// connectTimeout: the driver makes two connections at a time and lets each take
	// its 30 s. Two whose greeting was lost in a network that failed for a moment
	// would keep all reads waiting long after it is well again.
	connectTimeout = 3 * time.Second
	// serverCheckInterval is how often the driver's monitor hears from the server,
	// and how long the server may keep its question. With the driver's 10 s, an
	// error that names no topologyVersion, or a monitor's connection that has gone
	// silent, makes the server unknown to all reads and heartbeats for as long:
	// most of a max-stale.
	serverCheckInterval = 2 * time.Second
	// disconnectTimeout: by then nothing of ours uses a connection any more.
	disconnectTimeout = 5 * time.Second
)

// clientOptions reads a URI, which wins over our own values: whoever writes
// appName or maxPoolSize there means it. No client-level timeout is set, since
// that would end the change stream. The error shows no secret of the URI.
func clientOptions(uri string) (*options.ClientOptions, error) {
	opts := options.Client().
		SetAppName(appName).
		SetMaxPoolSize(maxPoolSize).
		SetServerSelectionTimeout(serverSelectionTimeout).
		SetConnectTimeout(connectTimeout).
		SetHeartbeatInterval(serverCheckInterval).
		ApplyURI(uri)
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("--mongodb-uri cannot be used: %s", withoutSecrets(err.Error(), uri))
	}
	if maxReads(opts) < 1 {
		return nil, fmt.Errorf("--mongodb-uri sets maxPoolSize to %d: keytail needs at least %d connections", *opts.MaxPoolSize, connectionsBesides+1)
	}
	return opts, nil
}

// databaseURI is --mongodb-uri, with the password of its file if there is one.
func databaseURI(cfg *config.Config) (string, error) {
	if cfg.MongoDBPasswordFile == "" {
		return cfg.MongoDBURI, nil
	}
	const flag = "mongodb-password-file"
	content, err := reload.ReadSecret(flag, cfg.MongoDBPasswordFile)
	if err != nil {
		return "", err
	}
	// Editors and echo end a file with a newline, which is not meant.
	password := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if password == "" || strings.ContainsAny(password, "\r\n\x00") {
		return "", fmt.Errorf("--%s: %s must hold one line, the password", flag, cfg.MongoDBPasswordFile)
	}
	return config.WithPassword(cfg.MongoDBURI, password), nil
}

// maxReads is how many reads of keys may be under way at once: the pool without
// the connections that other things need, so that no read waits for one. A pool
// without a limit (0) is treated as one of our own size.
func maxReads(opts *options.ClientOptions) int64 {
	pool := int64(*opts.MaxPoolSize)
	if pool == 0 {
		pool = maxPoolSize
	}
	return pool - connectionsBesides
}

// isSRV reports whether reading a URI asks the network, so that a failure is one
// of run time and not of usage.
func isSRV(uri string) bool { return strings.HasPrefix(uri, "mongodb+srv://") }

// connect makes a client, and says how many reads it may have under way. Nothing
// is asked of the server yet.
func connect(uri string) (*mongo.Client, int64, error) {
	opts, err := clientOptions(uri)
	if err != nil {
		return nil, 0, err
	}
	client, err := mongo.Connect(opts)
	if err != nil {
		return nil, 0, fmt.Errorf("no MongoDB client can be made: %s", withoutSecrets(err.Error(), uri))
	}
	return client, maxReads(opts), nil
}

// disconnect closes the client's connections after everything that used them has
// stopped.
func disconnect(client *mongo.Client, logger *zap.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), disconnectTimeout)
	defer cancel()
	if err := client.Disconnect(ctx); err != nil {
		logger.Warn("the MongoDB client did not close cleanly", zap.Error(err))
	}
}

// withoutSecrets takes the user, the password and the values of all options out
// of a text about a URI, in the form they have there and decoded.
func withoutSecrets(text, uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	beforeQuery, query, _ := strings.Cut(rest, "?")
	var secrets []string
	if userInfo, _, found := strings.Cut(beforeQuery, "@"); found {
		user, password, _ := strings.Cut(userInfo, ":")
		secrets = append(secrets, password, user)
	}
	for option := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		_, value, _ := strings.Cut(option, "=")
		secrets = append(secrets, value)
	}
	for _, secret := range secrets {
		text = without(text, secret)
		if decoded, err := url.PathUnescape(secret); err == nil {
			text = without(text, decoded)
		}
	}
	return text
}

func without(text, secret string) string {
	if secret == "" {
		return text
	}
	return strings.ReplaceAll(text, secret, "…")
}
