package mongoclient

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// codeCommandNotFound is MongoDB's code for it.
const codeCommandNotFound = 59

// Hello asks the primary, or the one member of a direct connection, who it is. The
// answer to hello differs from that to isMaster in one field: isWritablePrimary is
// ismaster there. 4.4.0 and 4.4.1 know isMaster alone.
func Hello(ctx context.Context, client *mongo.Client) (bson.Raw, error) {
	reply, err := greet(ctx, client, "hello")
	var refusal mongo.ServerError
	if errors.As(err, &refusal) && refusal.HasErrorCode(codeCommandNotFound) {
		return greet(ctx, client, "isMaster")
	}
	return reply, err
}

func greet(ctx context.Context, client *mongo.Client, command string) (bson.Raw, error) {
	return Database(client, "admin").
		RunCommand(ctx, bson.D{{Key: command, Value: 1}}, options.RunCmd().SetReadPreference(readpref.Primary())).
		Raw()
}
