package mongoclient

import (
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/guard"
)

// Database is the one way to a handle: it and the collections that are taken from
// it read from the primary what a majority has, and write to a majority, whatever
// the client was made with. What is meant otherwise (linearizable reads, last_used
// with w: 1) is a clone of such a collection.
//
// A handle without it inherits the client's concerns, which are those of a
// connection string or of an embedding program. A test looks for such handles.
func Database(client *mongo.Client, name string) *mongo.Database {
	if !guard.OwnConcerns {
		return client.Database(name)
	}
	return client.Database(name, options.Database().
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority()))
}
