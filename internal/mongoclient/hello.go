package mongoclient

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// codeCommandNotFound is MongoDB's error code for an unknown command.
const codeCommandNotFound = 59

// Hello sends hello to the primary, or to the one member of a direct
// connection. The reply to hello differs from that to isMaster in one field:
// isWritablePrimary is called ismaster there. MongoDB 4.4.0 and 4.4.1 know only
// isMaster.
func Hello(ctx context.Context, client *mongo.Client) (bson.Raw, error) {
	reply, err := runHello(ctx, client, "hello")
	var refusal mongo.ServerError
	if errors.As(err, &refusal) && refusal.HasErrorCode(codeCommandNotFound) {
		return runHello(ctx, client, "isMaster")
	}
	return reply, err
}

func runHello(ctx context.Context, client *mongo.Client, command string) (bson.Raw, error) {
	return Database(client, "admin").
		RunCommand(ctx, bson.D{{Key: command, Value: 1}}, options.RunCmd().SetReadPreference(readpref.Primary())).
		Raw()
}
