package keyadmin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

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

// TestAKeyThatIsLocked by the transaction of another client stops no key before it: after
// some conflicts the transaction is divided.
func TestAKeyThatIsLocked(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		if s.Kind == mongotest.NameDevmongo {
			t.Skip("devmongo finds conflicts at the commit, and locks nothing before")
		}
		o := newFixture(t, s, func(c *Config) { c.Timeout = 3 * time.Second })
		if o.noTransactions {
			t.Skip("the server has no transactions")
		}
		o.insertKeys(8, "u")
		session, err := o.keys.Database().Client().StartSession()
		if err != nil {
			t.Fatal(err)
		}
		defer session.EndSession(context.Background())
		if err := session.StartTransaction(); err != nil {
			t.Fatal(err)
		}
		if _, err := o.keys.UpdateByID(mongo.NewSessionContext(o.ctx(), session), "u-00003", bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "x"}}}}); err != nil {
			t.Fatal(err)
		}
		first, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500}, false)
		if err != nil || len(first.KeyIDs) != 4 || first.Next == "" {
			t.Errorf("%+v, %v", first, err)
		}
		if err := session.AbortTransaction(o.ctx()); err != nil {
			t.Fatal(err)
		}
		second, err := o.RevokeAll(o.ctx(), ofOwner("u"), managedkey.Query{Limit: 500, After: first.Next}, false)
		if err != nil || len(second.KeyIDs) != 4 || second.Next != "" {
			t.Errorf("the rest: %+v, %v", second, err)
		}
		o.mustCount(8, 8)
	})
}
