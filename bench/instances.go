package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/auth"
)

var instancesRow = row{
	name:         "instances",
	title:        "several instances on one server",
	measures:     "1, 3 and 10 instances on one server, with 2,000 writes per second to another collection of the same database",
	comparedWith: "1 instance",
	goals:        "at most 1.5 times the revocation delay, and at least 0.9 times the calls of Validate per second; the server's CPU is reported without a goal",
	run:          compareInstances,
	server:       true,
}

// otherWrites is the number of writes per second to another collection, as the rest of
// an application makes them.
const otherWrites = 2000

func compareInstances(ctx context.Context, e *env, r *result) error {
	sizes := []int{1, 3, 10}
	n := e.size(200, 3)
	c, err := e.newCollection(ctx, n*len(sizes)+100)
	if err != nil {
		return err
	}
	defer c.drop()
	t := table{Title: "Milliseconds from the acknowledgement of a revocation to the first refusal, over all instances", Head: []string{"instances", "p50", "p99", "worst", "other writes per second", "server CPU, in cores", "Validate calls per second on one instance"}}
	var first fleetFigures
	for turn, size := range sizes {
		got, err := measureInstances(ctx, e, c, size, turn*n, n)
		if err != nil {
			return err
		}
		if turn == 0 {
			first = got
		} else {
			r.goal(goal{Name: fmt.Sprintf("%d instances: p50 delay, relative to one instance", size), Got: quantile(got.delays, 0.5) / max(quantile(first.delays, 0.5), 0.01), Sign: "<=", Want: 1.5, Rounds: 1})
			r.goal(goal{Name: fmt.Sprintf("%d instances: p99 delay, relative to one instance", size), Got: quantile(got.delays, 0.99) / max(quantile(first.delays, 0.99), 0.01), Sign: "<=", Want: 1.5, Rounds: 1})
			r.goal(goal{Name: fmt.Sprintf("%d instances: Validate calls per second, relative to one instance", size), Got: got.rate / first.rate, Sign: ">=", Want: 0.9, Rounds: 1})
		}
		cells := delayCells(fmt.Sprint(size), got.delays)
		t.Rows = append(t.Rows, []string{cells[0], cells[1], cells[3], cells[4], fmt.Sprintf("%.0f", got.writes), got.cpu, fmt.Sprintf("%.0f", got.rate)})
	}
	r.table(t)
	r.note("Each instance opens its own change stream, so the server processes each write once for each instance. secantusd-py does all of this on one core. When that core is busy, all clients wait and the writers do not reach their rate.")
	r.note("All instances, the writers and the server share the cores of this machine, so ten instances are slower here than on ten machines.")
	return nil
}

type fleetFigures struct {
	delays []float64
	writes float64
	cpu    string
	rate   float64
}

// measureInstances starts the given number of instances and measures them.
func measureInstances(ctx context.Context, e *env, c *collection, size, firstKey, n int) (fleetFigures, error) {
	var all []*instance
	defer func() {
		for _, i := range all {
			i.stop()
		}
	}()
	for range size {
		i, err := e.start(ctx, c)
		if err != nil {
			return fleetFigures{}, err
		}
		all = append(all, i)
	}
	var figures fleetFigures
	written, stop, err := writeOtherCollection(ctx, e, c)
	if err != nil {
		return fleetFigures{}, err
	}
	defer stop()
	began, cpu, before := time.Now(), e.serverCPU(), written.Load()
	for k := firstKey; k < firstKey+n; k++ {
		delays, err := revokeEverywhere(ctx, c, all, k)
		if err != nil {
			return fleetFigures{}, err
		}
		figures.delays = append(figures.delays, delays...)
	}
	took := time.Since(began).Seconds()
	figures.writes = float64(written.Load()-before) / took
	figures.cpu = "unknown"
	if now := e.serverCPU(); cpu > 0 && now > 0 {
		figures.cpu = fmt.Sprintf("%.2f", (now-cpu).Seconds()/took)
	}
	slices.Sort(figures.delays)
	request := auth.Request{OrgID: "acme"}
	known := c.keys[c.size-100:]
	each, err := timePerCall(known, 1, e.duration(2*time.Second), func(key string) bool {
		v, _ := all[0].Validate(ctx, key, request)
		return v.Valid()
	})
	figures.rate = 1e9 / each
	e.progress("%d instances: p50 %.2f ms, %.0f other writes per second", size, quantile(figures.delays, 0.5), figures.writes)
	return figures, err
}

// revokeEverywhere revokes a key and waits until every instance refuses it. The requests
// have a pause, because those to ten instances would use the whole machine.
func revokeEverywhere(ctx context.Context, c *collection, all []*instance, k int) ([]float64, error) {
	request := auth.Request{OrgID: "acme"}
	refused := make([]time.Time, len(all))
	var group sync.WaitGroup
	for n, i := range all {
		group.Go(func() { refused[n] = firstRefusal(ctx, i, c.keys[k], request, 100*time.Microsecond).received })
	}
	_, err := c.UpdateByID(ctx, sampleRecord(k).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
	acknowledged := time.Now()
	if err != nil {
		return nil, err
	}
	group.Wait()
	var delays []float64
	for _, at := range refused {
		if at.IsZero() {
			return nil, errors.New("a revoked key is still valid after one minute")
		}
		delays = append(delays, milliseconds(at.Sub(acknowledged)))
	}
	return delays, nil
}

// writeOtherCollection updates otherWrites documents of another collection per second.
// It updates a hundred with one command, because single updates would be too many for some
// servers.
func writeOtherCollection(ctx context.Context, e *env, c *collection) (written *atomic.Int64, stop func(), err error) {
	const atOnce = 100
	client, err := e.connect()
	if err != nil {
		return nil, nil, err
	}
	other := client.Database(c.Database().Name()).Collection("orders", mongooptions.Collection().SetWriteConcern(writeconcern.W1()))
	var orders []any
	for i := range atOnce {
		orders = append(orders, bson.D{{Key: "_id", Value: i}, {Key: "n", Value: 0}})
	}
	err = other.Drop(ctx)
	if err == nil {
		_, err = other.InsertMany(ctx, orders)
	}
	if err != nil {
		disconnect(client)
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	written = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(atOnce * time.Second / otherWrites)
		defer ticker.Stop()
		for ctx.Err() == nil {
			<-ticker.C
			got, err := other.UpdateMany(ctx, bson.D{}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}})
			if err == nil {
				written.Add(got.ModifiedCount)
			}
		}
	}()
	return written, func() { cancel(); <-done; disconnect(client) }, nil
}

// serverCPU returns the CPU time that the server of this row has used, or zero if it is
// unknown.
func (e *env) serverCPU() time.Duration {
	if e.server == nil {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.server.Pid()))
	if err != nil {
		return 0
	}
	// proc(5): utime and stime are fields 14 and 15, in ticks of 10 ms. The text after the
	// name in brackets starts with field 3.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
