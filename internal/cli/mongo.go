package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/secretfile"
)

// disconnectTimeout is short: keytail no longer uses a connection then.
const disconnectTimeout = 5 * time.Second

// databaseURI is --mongodb-uri, with the password of its file if there is one.
func databaseURI(cfg *config.Config) (string, error) {
	if cfg.MongoDBPasswordFile == "" {
		return cfg.MongoDBURI, nil
	}
	const flag = "mongodb-password-file"
	password, err := secretfile.ReadSecretBytes(cfg.MongoDBPasswordFile)
	if err != nil {
		return "", ofFlag(flag, err)
	}
	if bytes.ContainsAny(password, "\r\n\x00") {
		return "", fmt.Errorf("--%s: %s must hold one line, the password", flag, cfg.MongoDBPasswordFile)
	}
	return config.WithPassword(cfg.MongoDBURI, string(password)), nil
}

// isSRV reports whether reading a URI needs the network, so that a failure is one
// of run time and not of usage.
func isSRV(uri string) bool { return strings.HasPrefix(uri, "mongodb+srv://") }

// checkURI checks a connection string. For mongodb+srv the driver's own checks
// need the network, and follow when the client is created.
func checkURI(uri string) error {
	if isSRV(uri) {
		return mongoclient.CheckURI(uri)
	}
	_, err := mongoclient.ForURI(uri)
	return err
}

// database is a client with its settings.
type database struct {
	*mongoclient.Settings
	client *mongo.Client
}

// connect creates a client, and logs which options of the connection string are
// not followed. It queries the server only whether a direct connection is
// enough. A nil monitor monitors nothing.
func connect(ctx context.Context, uri, readPreference string, monitor *event.CommandMonitor, logger *zap.Logger) (database, error) {
	settings, err := mongoclient.ForURI(uri)
	if err != nil {
		return database{}, err
	}
	settings.Notes = settings.NotesWith(readPreference)
	for _, note := range settings.Notes {
		logger.Warn(note)
	}
	settings.Options.SetMonitor(monitor)
	client, err := settings.Connect(uri)
	if err != nil {
		return database{}, err
	}
	if err := settings.CheckDirect(ctx, client); err != nil {
		disconnect(client, logger)
		return database{}, err
	}
	return database{settings, client}, nil
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
