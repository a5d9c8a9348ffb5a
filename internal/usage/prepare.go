package usage

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
)

// Prepare asks whether the credential may write at all, with an update that
// matches no document. An error that it may not is keystore.ErrUnauthorized, in a
// sentence that says what to do; any other one says nothing about later writes.
func (u *Recorder) Prepare(ctx context.Context) error {
	nothing := bson.D{{Key: idField, Value: bson.D{{Key: "$in", Value: bson.A{}}}}}
	_, err := u.keys.UpdateOne(ctx, nothing, u.update(pending{count: 1, last: 1}))
	if keystore.NotAllowed(err) {
		return fmt.Errorf("the use of keys is not written down, because that is not allowed: grant the user of the connection string update on collection %q of database %q, or set --track-usage=false: %w: %w",
			u.keys.Name(), u.keys.Database().Name(), keystore.ErrUnauthorized, err)
	}
	if err != nil {
		return fmt.Errorf("asking whether the use of keys may be written down: %w", err)
	}
	return nil
}
