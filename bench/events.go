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
	name:    "events",
	what:    "event throughput: 200,000 updates of 1,000 keys, made as fast as the server makes them, from the first write until all have been applied",
	against: "the bare driver, which only decodes them",
	reach:   ">= 0.9x",
	run:     measureEvents,
	server:  true,
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
	t := table{Head: []string{"", "events a second", "CPU of this process an event"}}
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
		e.say("%s: %.0f events a second", side.name, events/took.Seconds())
		t.Rows = append(t.Rows, []string{side.name, fmt.Sprintf("%.0f", events/took.Seconds()), fmt.Sprintf("%.1f µs", float64((cpuTime()-before).Microseconds())/events)})
	}
	r.goal(goal{Name: "events a second to those of the bare driver", Got: rates[0] / rates[1], Sign: ">=", Want: 0.9, Rounds: 1})
	r.goal(goal{Name: "the same, to the bare driver with the filter that keytail gives the server", Got: rates[0] / rates[2], Sign: ">=", Want: 0.9, Rounds: 1})
	r.table(t)
	r.note("Each side takes all of the updates once, one side after the other, while they are written. The filter is the server's work: it keeps last_used and the like off the network. Where the server is slower than each of these sides the ratio of their rates is that of its own work for them: of the filter, and of the reads by which keytail looks at what updates have touched; the CPU of this process says what is left when it is not. That process also writes the updates.")
	return nil
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// updateAll changes every key so many times, and returns the time of the last write
// in the server's log.
func (c *collection) updateAll(ctx context.Context, times int) (bson.Timestamp, error) {
	session, err := c.client.StartSession()
	if err != nil {
		return bson.Timestamp{}, err
	}
	defer session.EndSession(ctx)
	inSession := mongo.NewSessionContext(ctx, session)
	for n := range times {
		// By a string, as a name is: an ignored field would not come through the filter.
		if _, err := c.UpdateMany(inSession, bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: fmt.Sprint("renamed ", n, time.Now().UnixNano())}}}}); err != nil {
			return bson.Timestamp{}, err
		}
	}
	return *session.OperationTime(), nil
}

// keytailApplies also says which filter keytail gives the server.
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
	// Each question about a key that has just changed is a read, too, so there are few.
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for time.Since(began) < 10*time.Minute {
		v, _ := i.Validate(ctx, c.texts[0], auth.Request{OrgID: "acme"})
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

// filterOf is the pipeline of a change stream without its first stage.
func filterOf(aggregate bson.Raw) mongo.Pipeline {
	var command struct {
		Pipeline mongo.Pipeline `bson:"pipeline"`
	}
	if bson.Unmarshal(aggregate, &command) != nil || len(command.Pipeline) == 0 {
		return nil
	}
	return command.Pipeline[1:]
}

// bareDecodes reads each event into what an application would make of it: of the
// collection's stream, or with a filter of the database's, as keytail has it.
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
			return 0, errors.Join(errors.New("the stream has ended"), stream.Err())
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
			return 0, fmt.Errorf("an event of type %s", change.Operation)
		}
	}
	return time.Since(began), <-written
}
