// Command receipt revokes a key as an application does that writes to MongoDB by
// itself, and returns when every instance of keytail has heard of it.
//
//	KEYTAIL_TOKEN=... receipt MONGODB_URI DATABASE COLLECTION KEY_ID KEYTAIL_URL
//
// What makes the receipt is two lines: the operationTime of the session that wrote
// is the revision, and GET /v1/sync waits for it.
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
		fmt.Fprintln(os.Stderr, "usage: KEYTAIL_TOKEN=... receipt MONGODB_URI DATABASE COLLECTION KEY_ID KEYTAIL_URL")
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
	// Only what a majority has cannot be rolled back, so only that can be waited for.
	keys := client.Database(args[1]).Collection(args[2], options.Collection().SetWriteConcern(writeconcern.Majority()))
	began := time.Now()
	revision, err := revoke(ctx, keys, args[3])
	if err != nil {
		return err
	}
	receipt, err := wait(ctx, args[4], token, revision)
	if err != nil {
		return err
	}
	heard := len(receipt.Instances) - len(receipt.Missing)
	fmt.Printf("revoked on %d of %d instances in %.1f s, revision %s\n", heard, len(receipt.Instances), time.Since(began).Seconds(), revision)
	if !receipt.Synced {
		return fmt.Errorf("still to hear of it: %v", receipt.Missing)
	}
	return nil
}

// revoke returns the write's revision: the operationTime of its session, as 16 hex
// digits. The session is a fresh one, since a used one remembers later times.
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
		return "", fmt.Errorf("there is no key with this id")
	}
	at := session.OperationTime()
	return fmt.Sprintf("%08x%08x", at.T, at.I), nil
}

// receipt is sync's answer.
type receipt struct {
	Synced    bool
	Instances []struct{ ID string }
	Missing   []string
}

// wait asks any instance; it answers for all.
func wait(ctx context.Context, keytail, token, revision string) (*receipt, error) {
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
	var r receipt
	return &r, json.NewDecoder(response.Body).Decode(&r)
}
