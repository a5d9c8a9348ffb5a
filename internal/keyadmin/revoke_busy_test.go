package keyadmin

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestARevocationDuringOtherWrites: others write uses and names of the same keys
// meanwhile, so that transactions conflict. Each key is revoked once, with one audit
// entry, and no write of the others is lost.
func TestARevocationDuringOtherWrites(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		n := 300
		if o.noTransactions || o.server.Kind == mongotest.NameSecantus { // each takes its own time
			n, o.perTransaction = 40, 10
		}
		o.insertKeys(n, "u")
		ctx := o.ctx()
		stop := make(chan struct{})
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					id := fmt.Sprintf("u-%05d", rand.IntN(n))
					change := bson.D{{Key: "$set", Value: bson.D{{Key: "last_used", Value: time.Now()}}}, {Key: "$inc", Value: bson.D{{Key: "usage_count", Value: 1}}}}
					if i%2 == 0 {
						change = bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: fmt.Sprint("name ", i)}}}, {Key: "$inc", Value: bson.D{{Key: "usage_count", Value: 1}}}}
					}
					if _, err := o.keys.UpdateByID(ctx, id, change); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var revoked int
		for again := true; again; {
			page, err := o.RevokeAll(ctx, ofOwner("u"), managedkey.Query{Limit: 500}, false)
			if err != nil {
				t.Error(err)
				break
			}
			revoked += len(page.KeyIDs)
			again = len(page.KeyIDs)+len(page.Failed) > 0
		}
		close(stop)
		group.Wait()
		if off := o.count(o.keys, inactive); revoked != n || off != int64(n) {
			t.Errorf("%d of %d keys are revoked, %d are off", revoked, n, off)
		}
		o.mustCount(int64(n), int64(n))
	})
}
