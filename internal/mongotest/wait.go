package mongotest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// pollInterval is the interval at which Eventually checks its condition.
const pollInterval = 10 * time.Millisecond

// Eventually checks cond until it is true, and fails t when it is not true within
// the given time. what describes the condition. cond runs on t's goroutine, so it
// may call t.Fatal.
func Eventually(t testing.TB, within time.Duration, cond func() bool, what ...any) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			if cond() {
				return
			}
			t.Fatalf("not within %v: %s", within, fmt.Sprint(what...))
		case <-ticker.C:
		}
	}
}

// CreateAPIKeys creates the collection of the default schema, api_keys with a
// unique index on key_hash, and returns it with majority write concern.
func CreateAPIKeys(t testing.TB, db *mongo.Database) *mongo.Collection {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := db.CreateCollection(ctx, "api_keys"); err != nil {
		t.Fatalf("creating api_keys: %v", err)
	}
	coll := db.Collection("api_keys", options.Collection().SetWriteConcern(writeconcern.Majority()))
	_, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys:    bson.D{{Key: "key_hash", Value: 1}},
		Options: options.Index().SetUnique(true),
	})
	if err != nil {
		t.Fatalf("creating the index on key_hash: %v", err)
	}
	return coll
}
