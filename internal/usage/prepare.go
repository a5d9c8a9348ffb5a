package usage

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/keystore"
)

// Server error codes, from MongoDB's error_codes.yml.
const (
	codeUnauthorized = 13
	// codeAtlas is what MongoDB Atlas answers to what a user may not do.
	codeAtlas = 8000
)

// Prepare asks whether the credential may write at all, with an update that
// matches no document. An error that it may not is keystore.ErrUnauthorized, in a
// sentence that says what to do; any other one says nothing about later writes.
func (u *Usage) Prepare(ctx context.Context) error {
	nothing := bson.D{{Key: idField, Value: bson.D{{Key: "$in", Value: bson.A{}}}}}
	_, err := u.keys.UpdateOne(ctx, nothing, u.update(pending{count: 1, last: 1}))
	var server mongo.ServerError
	if errors.As(err, &server) && (server.HasErrorCode(codeUnauthorized) || server.HasErrorCode(codeAtlas)) {
		return fmt.Errorf("the use of keys is not written down, because that is not allowed: grant the user of the connection string update on collection %q of database %q, or set --track-usage=false: %w: %w",
			u.keys.Name(), u.keys.Database().Name(), keystore.ErrUnauthorized, err)
	}
	if err != nil {
		return fmt.Errorf("asking whether the use of keys may be written down: %w", err)
	}
	return nil
}
