// Command revoke revokes a key like an application that writes to MongoDB directly, and
// returns when every instance of keytail has applied the revocation.
//
//	KEYTAIL_TOKEN=... revoke MONGODB_URI DATABASE COLLECTION KEY_ID KEYTAIL_URL
//
// Two steps get the write acknowledgement: the operationTime of the session that wrote is
// the revision, and GET /v1/sync waits until the fleet has applied it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: KEYTAIL_TOKEN=... revoke MONGODB_URI DATABASE COLLECTION KEY_ID KEYTAIL_URL")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1:], os.Getenv("KEYTAIL_TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, token string) error {
	client, err := mongo.Connect(options.Client().ApplyURI(args[0]))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	// Use write concern majority: any other write can be rolled back, so keytail cannot
	// acknowledge it.
	keys := client.Database(args[1]).Collection(args[2], options.Collection().SetWriteConcern(writeconcern.Majority()))
	began := time.Now()
	revision, err := revoke(ctx, keys, args[3])
	if err != nil {
		return err
	}
	acknowledgement, err := wait(ctx, args[4], token, revision)
	if err != nil {
		return err
	}
	applied := len(acknowledgement.Instances) - len(acknowledgement.Missing)
	fmt.Printf("revoked on %d of %d instances in %.1f s, revision %s\n", applied, len(acknowledgement.Instances), time.Since(began).Seconds(), revision)
	if !acknowledgement.Synced {
		return fmt.Errorf("not yet applied by: %v", acknowledgement.Missing)
	}
	return nil
}

// revoke returns the revision of the write: the operationTime of its session, as 16
// hexadecimal digits. It uses a new session, because a used one may have a later time.
func revoke(ctx context.Context, keys *mongo.Collection, id any) (string, error) {
	session, err := keys.Database().Client().StartSession()
	if err != nil {
		return "", err
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	result, err := keys.UpdateByID(mongo.NewSessionContext(ctx, session), id, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
	if err != nil {
		return "", err
	}
	if result.MatchedCount == 0 {
		return "", fmt.Errorf("no key has this id")
	}
	at := session.OperationTime()
	return fmt.Sprintf("%08x%08x", at.T, at.I), nil
}

// acknowledgement is the response of /v1/sync.
type acknowledgement struct {
	Synced    bool
	Instances []struct{ ID string }
	Missing   []string
}

// wait sends the request to any instance, which responds for the whole fleet.
func wait(ctx context.Context, keytail, token, revision string) (*acknowledgement, error) {
	query := url.Values{"revision": {revision}, "scope": {"fleet"}, "timeout": {"30s"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, keytail+"/v1/sync?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keytail answered %s", response.Status)
	}
	var a acknowledgement
	return &a, json.NewDecoder(response.Body).Decode(&a)
}
