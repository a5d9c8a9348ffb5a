package nemesis

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/changestream"
)

const (
	// forgeryPace is the pause between two rounds of forgeries, forgedCounters the
	// number of future counters that each round writes.
	forgeryPace    = 150 * time.Millisecond
	forgedCounters = 6
	// forgedLatency delays the server's replies meanwhile: an instance reads what was
	// forged before a write after it has sent the heartbeat that the forgery imitates.
	forgedLatency = `{"type":"latency","stream":"downstream","attributes":{"latency":700,"jitter":100}}`
)

// forger is a client that can write heartbeats, and nothing else.
type forger struct {
	beats  *mongo.Collection
	random *rand.Rand
	// seen has the nonces of each instance, the newest last; forged has those that the
	// instance has not written.
	seen   map[string][]int64
	forged map[int64]bool
}

// forgeries writes heartbeats in the instances' names: future counters, used nonces, and
// false values of processed. They must not cause a false age. The test does not check
// write acknowledgements of the fleet meanwhile, because they can be forged
// (docs/security.md).
func (a *testbed) forgeries(load *workload) fault {
	return func(victims []*instance) func() {
		f := &forger{
			beats:  a.keys.Database().Collection(changestream.HeartbeatCollection),
			random: rand.New(rand.NewPCG(load.seed, 17)), seen: map[string][]int64{}, forged: map[int64]bool{},
		}
		load.forgedUntil.Store(math.MaxInt64)
		repair := each(victims, func(i *instance) func() { return i.proxy.addToxic(a.t, forgedLatency) })
		ctx, cancel := context.WithCancel(context.Background())
		var group sync.WaitGroup
		group.Go(func() {
			for ctx.Err() == nil {
				// A failed round does not matter.
				_ = f.round(ctx)
				pause(forgeryPace)
			}
		})
		return func() {
			cancel()
			group.Wait()
			repair()
			// The instances' own heartbeats replace what was forged.
			load.forgedUntil.Store(time.Now().Add(syncTimeout).UnixNano())
		}
	}
}

// round forges each document that its instance has written since the last round.
func (f *forger) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	cursor, err := f.beats.Find(ctx, bson.D{})
	if err != nil {
		return err
	}
	var documents []bson.Raw
	if err := cursor.All(ctx, &documents); err != nil {
		return err
	}
	var errs []error
	for _, raw := range documents {
		errs = append(errs, f.forge(ctx, raw))
	}
	return errors.Join(errs...)
}

func (f *forger) forge(ctx context.Context, raw bson.Raw) error {
	id, _ := raw.Lookup("_id").StringValueOK()
	n, _ := raw.Lookup("n").AsInt64OK()
	if f.forged[n] {
		return nil // the instance has not written since
	}
	f.seen[id] = append(f.seen[id], n)
	set := func(field string, value any) error {
		_, err := f.beats.UpdateByID(ctx, id, bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}})
		return err
	}
	switch f.random.IntN(8) {
	case 0:
		return set("n", f.seen[id][f.random.IntN(len(f.seen[id]))])
	case 1:
		return set("processed", bson.Timestamp{T: uint32(time.Now().Add(time.Hour).Unix())})
	case 2:
		_, err := f.beats.ReplaceOne(ctx, bson.D{{Key: "_id", Value: id}}, raw)
		return err
	case 3:
		_, err := f.beats.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
		return err
	default:
		var errs []error
		for i := range int64(forgedCounters) {
			f.forged[n+1+i] = true
			errs = append(errs, set("n", n+1+i))
		}
		return errors.Join(errs...)
	}
}
