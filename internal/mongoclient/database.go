package mongoclient

import (
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/guard"
)

// Database is the only way to get a handle of a database: it and the
// collections from it read with read concern majority from the primary, and
// write with write concern majority, regardless of the settings of the client.
// Uses that need something else (linearizable reads, last_used with w: 1) clone
// such a collection; OnMembers makes the handle for what may read from secondaries.
//
// A handle that comes from the client itself inherits the client's concerns,
// which come from a connection string or from an embedding program. A test
// looks for such handles.
func Database(client *mongo.Client, name string) *mongo.Database {
	if !guard.OwnConcerns {
		return client.Database(name)
	}
	return client.Database(name, ownConcerns())
}

// ownConcerns are the options of every handle.
func ownConcerns() *options.DatabaseOptionsBuilder {
	return options.Database().
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority())
}
