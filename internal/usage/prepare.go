package usage

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
)

// Prepare finds out whether the user of the connection string may write at all,
// with an update that matches no document. If the user may not, the error is
// keystore.ErrUnauthorized, in a sentence with what to do; any other error
// does not affect later writes.
func (u *Recorder) Prepare(ctx context.Context) error {
	nothing := bson.D{{Key: idField, Value: bson.D{{Key: "$in", Value: bson.A{}}}}}
	_, err := u.keys.UpdateOne(ctx, nothing, u.update(pending{count: 1, last: 1}))
	if keystore.NotAllowed(err) {
		return fmt.Errorf("the use of keys is not recorded, because the user may not write: grant the user of the connection string update on collection %q of database %q, or set --track-usage=false: %w: %w",
			u.keys.Name(), u.keys.Database().Name(), keystore.ErrUnauthorized, err)
	}
	if err != nil {
		return fmt.Errorf("checking whether the use of keys can be recorded: %w", err)
	}
	return nil
}
