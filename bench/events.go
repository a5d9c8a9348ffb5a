package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/daemon"
)

var eventsRow = row{
	name:         "events",
	title:        "how fast change events are applied",
	measures:     "event throughput: 200,000 updates of 1,000 keys, written as fast as the server can, from the first write until keytail has applied all of them",
	comparedWith: "the bare driver, which only decodes the events",
	goals:        "at least 0.9 times the events per second",
	run:          measureEvents,
	server:       true,
}

func measureEvents(ctx context.Context, e *env, r *result) error {
	c, err := e.newCollection(ctx, e.size(1000, 50))
	if err != nil {
		return err
	}
	defer c.drop()
	batches := e.size(200, 3)
	sides := []struct {
		name string
		run  func(filter *mongo.Pipeline) (time.Duration, error)
	}{
		{"keytail", func(filter *mongo.Pipeline) (time.Duration, error) { return keytailApplies(ctx, e, c, batches, filter) }},
		{"bare driver", func(*mongo.Pipeline) (time.Duration, error) { return bareDecodes(ctx, e, c, batches, nil) }},
		{"bare driver, with keytail's filter", func(filter *mongo.Pipeline) (time.Duration, error) {
			return bareDecodes(ctx, e, c, batches, *filter)
		}},
	}
	t := table{Head: []string{"", "events per second", "CPU per event"}}
	var rates []float64
	var filter mongo.Pipeline
	for _, side := range sides {
		before := cpuTime()
		took, err := side.run(&filter)
		if err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
		events := float64(batches * c.size)
		rates = append(rates, events/took.Seconds())
		e.progress("%s: %.0f events per second", side.name, events/took.Seconds())
		t.Rows = append(t.Rows, []string{side.name, fmt.Sprintf("%.0f", events/took.Seconds()), fmt.Sprintf("%.1f µs", float64((cpuTime()-before).Microseconds())/events)})
	}
	r.goal(goal{Name: "events per second, relative to the bare driver", Got: rates[0] / rates[1], Sign: ">=", Want: 0.9, Rounds: 1})
	r.goal(goal{Name: "events per second, relative to the bare driver with keytail's filter", Got: rates[0] / rates[2], Sign: ">=", Want: 0.9, Rounds: 1})
	r.table(t)
	r.note("Each side receives all of the updates once, while they are written; the sides run one after the other. The server applies the filter, which keeps changes of last_used and similar fields off the network. If the server is slower than every side, the ratios compare only the server's work for each side: the filter, and keytail's reads of the updated documents. The CPU per event shows the work of the process itself, which also writes the updates.")
	return nil
}

// cpuTime returns the CPU time that this process has used.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// updateAll updates every key this many times, and returns the operation time of the
// last write.
func (c *collection) updateAll(ctx context.Context, times int) (bson.Timestamp, error) {
	session, err := c.client.StartSession()
	if err != nil {
		return bson.Timestamp{}, err
	}
	defer session.EndSession(ctx)
	inSession := mongo.NewSessionContext(ctx, session)
	for n := range times {
		// A name is a string, and not an ignored field, which would not pass the filter.
		if _, err := c.UpdateMany(inSession, bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: fmt.Sprint("renamed ", n, time.Now().UnixNano())}}}}); err != nil {
			return bson.Timestamp{}, err
		}
	}
	return *session.OperationTime(), nil
}

// keytailApplies measures keytail, and also stores the filter of its change stream.
func keytailApplies(ctx context.Context, e *env, c *collection, batches int, filter *mongo.Pipeline) (time.Duration, error) {
	var seen sync.Once
	client, err := e.connect(func(o *mongooptions.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, began *event.CommandStartedEvent) {
			if began.CommandName == "aggregate" {
				seen.Do(func() { *filter = filterOf(began.Command) })
			}
		}})
	})
	if err != nil {
		return 0, err
	}
	defer disconnect(client)
	i, err := e.start(ctx, c, func(k *daemon.Config) { k.Client = client })
	if err != nil {
		return 0, err
	}
	defer i.stop()
	began := time.Now()
	last, err := c.updateAll(ctx, batches)
	if err != nil {
		return 0, err
	}
	goal := auth.Revision(uint64(last.T)<<32 | uint64(last.I))
	// A request for a key that has just changed is a database read, so there are few.
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for time.Since(began) < 10*time.Minute {
		v, _ := i.Validate(ctx, c.keys[0], auth.Request{OrgID: "acme"})
		if v.Source == auth.SourceCache && v.Revision >= goal {
			return time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-ticker.C:
		}
	}
	return 0, errors.New("keytail has not applied all events after ten minutes")
}

// filterOf returns the pipeline of a change stream without its first stage.
func filterOf(aggregate bson.Raw) mongo.Pipeline {
	var command struct {
		Pipeline mongo.Pipeline `bson:"pipeline"`
	}
	if bson.Unmarshal(aggregate, &command) != nil || len(command.Pipeline) == 0 {
		return nil
	}
	return command.Pipeline[1:]
}

// bareDecodes decodes each event as an application would. Without a filter it watches
// the collection; with one it watches the database, as keytail does.
func bareDecodes(ctx context.Context, e *env, c *collection, batches int, filter mongo.Pipeline) (time.Duration, error) {
	client, err := e.connect()
	if err != nil {
		return 0, err
	}
	defer disconnect(client)
	database, wait := client.Database(c.Database().Name()), mongooptions.ChangeStream().SetMaxAwaitTime(time.Second)
	var stream *mongo.ChangeStream
	if filter == nil {
		stream, err = database.Collection(c.Name()).Watch(ctx, mongo.Pipeline{}, wait)
	} else {
		stream, err = database.Watch(ctx, filter, wait)
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = stream.Close(context.WithoutCancel(ctx)) }()
	began := time.Now()
	written := make(chan error, 1)
	go func() { _, err := c.updateAll(ctx, batches); written <- err }()
	for range batches * c.size {
		if !stream.Next(ctx) {
			return 0, errors.Join(errors.New("the change stream ended"), stream.Err())
		}
		var change struct {
			Operation   string `bson:"operationType"`
			DocumentKey struct {
				ID string `bson:"_id"`
			} `bson:"documentKey"`
			ClusterTime bson.Timestamp `bson:"clusterTime"`
			Update      struct {
				Fields bson.Raw `bson:"updatedFields"`
			} `bson:"updateDescription"`
		}
		if err := stream.Decode(&change); err != nil {
			return 0, err
		}
		if change.Operation != "update" {
			return 0, fmt.Errorf("unexpected event of type %s", change.Operation)
		}
	}
	return time.Since(began), <-written
}
