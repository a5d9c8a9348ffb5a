package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/auth"
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
	var ours, theirs eventFigures
	all, err := paired(ctx, e.size(3, 1), func() (float64, error) {
		return ours.round(e, "keytail", func() (time.Duration, error) { return keytailApplies(ctx, e, c, batches) }, batches*c.size)
	}, func() (float64, error) {
		return theirs.round(e, "bare driver", func() (time.Duration, error) { return bareDecodes(ctx, e, c, batches) }, batches*c.size)
	})
	if err != nil {
		return err
	}
	r.goal(all.goal("events a second to those of the bare driver", ">=", 0.9))
	r.table(table{
		Title: "Medians", Head: []string{"", "events a second", "CPU of this process an event"},
		Rows: [][]string{ours.cells("keytail"), theirs.cells("bare driver")},
	})
	r.note("Where the server is slower than both sides the ratio of their rates says little; that of their CPU says what is left when it is not.")
	return nil
}

// eventFigures are a side's events a second, and its CPU an event in microseconds.
type eventFigures struct{ rates, costs []float64 }

func (f *eventFigures) round(e *env, name string, run func() (time.Duration, error), events int) (float64, error) {
	before := cpuTime()
	took, err := run()
	if err != nil {
		return 0, err
	}
	rate := float64(events) / took.Seconds()
	f.rates = append(f.rates, rate)
	f.costs = append(f.costs, float64((cpuTime()-before).Microseconds())/float64(events))
	e.say("%s: %.0f events a second", name, rate)
	return rate, nil
}

func (f *eventFigures) cells(name string) []string {
	return []string{name, fmt.Sprintf("%.0f", median(f.rates)), fmt.Sprintf("%.1f µs", median(f.costs))}
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

func keytailApplies(ctx context.Context, e *env, c *collection, batches int) (time.Duration, error) {
	i, err := e.start(ctx, c)
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
	ticker := time.NewTicker(time.Millisecond)
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

// bareDecodes reads each event into what an application would make of it.
func bareDecodes(ctx context.Context, e *env, c *collection, batches int) (time.Duration, error) {
	client, err := e.connect()
	if err != nil {
		return 0, err
	}
	defer disconnect(client)
	stream, err := client.Database(c.Database().Name()).Collection(c.Name()).Watch(ctx, mongo.Pipeline{}, mongooptions.ChangeStream().SetMaxAwaitTime(time.Second))
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
