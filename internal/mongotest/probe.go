package mongotest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// probeTimeout is long because the probe sends the first commands of a server that
// has just started, perhaps on a busy machine.
const probeTimeout = 20 * time.Second

// tokenKeyTimestamp is the first byte of a resume token in MongoDB's layout: the
// KeyString type of a timestamp, which follows it.
const tokenKeyTimestamp = "82"

// probe finds out which features the server has.
func (s *Server) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	client, err := mongo.Connect(s.Options(""))
	if err != nil {
		return err
	}
	defer disconnect(client)
	if s.Version, s.Kind, err = identity(ctx, client); err != nil {
		return fmt.Errorf("buildInfo: %w", err)
	}
	if s.MongoDBTokens, err = mongoDBTokens(ctx, client); err != nil {
		return fmt.Errorf("opening a change stream: %w", err)
	}
	if s.RefusesFuture, err = refusesFuture(ctx, client); err != nil {
		return fmt.Errorf("a read after a future cluster time: %w", err)
	}
	if s.Views, err = views(ctx, client); err != nil {
		return fmt.Errorf("creating a view: %w", err)
	}
	s.Failpoints, err = failpoints(ctx, client)
	return err
}

// KindMongoDB is the Server.Kind of every server that does not identify itself as
// another one.
const KindMongoDB = "mongodb"

// identity returns the version and the kind.
func identity(ctx context.Context, client *mongo.Client) (version, kind string, err error) {
	var reply struct {
		Version         string `bson:"version"`
		GitVersion      string `bson:"gitVersion"`
		SecantusVersion string `bson:"secantusVersion"`
	}
	err = client.Database("admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&reply)
	switch {
	case reply.SecantusVersion != "":
		kind = NameSecantus
	case reply.GitVersion == NameDevmongo:
		kind = NameDevmongo
	default:
		kind = KindMongoDB
	}
	return reply.Version, kind, err
}

// views creates a view in a separate database. A command error means that the
// server has no views, or that the user may not create one.
func views(ctx context.Context, client *mongo.Client) (bool, error) {
	db := client.Database(databaseName("probe"))
	defer func() { _ = db.Drop(ctx) }()
	err := db.CreateView(ctx, "view", "collection", mongo.Pipeline{})
	if _, refused := errors.AsType[mongo.CommandError](err); refused {
		return false, nil
	}
	return err == nil, err
}

func mongoDBTokens(ctx context.Context, client *mongo.Client) (bool, error) {
	stream, err := client.Database(databaseName("probe")).Watch(ctx, mongo.Pipeline{})
	if err != nil {
		return false, err
	}
	defer func() { _ = stream.Close(ctx) }()
	data, ok := stream.ResumeToken().Lookup("_data").StringValueOK()
	return ok && len(data) >= 18 && data[:2] == tokenKeyTimestamp, nil
}

// codeInvalidOptions is MongoDB's code InvalidOptions.
const codeInvalidOptions = 72

// refusesFuture reads after a cluster time that is a day ahead. It sets no
// maxTimeMS: the driver derives one from the context's deadline, and a server
// rejects a second one.
func refusesFuture(ctx context.Context, client *mongo.Client) (bool, error) {
	future := bson.Timestamp{T: uint32(time.Now().Add(24 * time.Hour).Unix()), I: 1}
	err := client.Database(databaseName("probe")).RunCommand(ctx, bson.D{
		{Key: "find", Value: "nothing"},
		{Key: "readConcern", Value: bson.D{{Key: "level", Value: "majority"}, {Key: "afterClusterTime", Value: future}}},
	}).Err()
	if refusal, ok := errors.AsType[mongo.CommandError](err); ok && refusal.Code == codeInvalidOptions {
		return true, nil
	}
	return false, err
}

// failpoints switches off a failpoint that is off already. Only a server with
// failpoints accepts that.
func failpoints(ctx context.Context, client *mongo.Client) (bool, error) {
	err := client.Database("admin").RunCommand(ctx, bson.D{
		{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "off"},
	}).Err()
	if _, refused := errors.AsType[mongo.CommandError](err); refused {
		return false, nil
	}
	return err == nil, err
}
