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

var fleetRow = row{
	name:    "fleet",
	what:    "1, 3 and 10 instances on one server, while another collection of the same database takes 2,000 writes a second",
	against: "1 instance",
	reach:   "events delivered late by no more than 1.5x; server CPU stated; rate of Validate unchanged",
	run:     measureFleet,
	server:  true,
}

// otherWrites a second are what the rest of an application writes.
const otherWrites = 2000

func measureFleet(ctx context.Context, e *env, r *result) error {
	sizes := []int{1, 3, 10}
	n := e.size(200, 3)
	c, err := e.newCollection(ctx, n*len(sizes)+100)
	if err != nil {
		return err
	}
	defer c.drop()
	t := table{Title: "Milliseconds from the acknowledgement of a revocation to the first refusal, over all instances", Head: []string{"instances", "p50", "p99", "worst", "other writes a second", "cores that the server takes", "Validate, a second on one instance"}}
	var first fleetFigures
	for turn, size := range sizes {
		got, err := fleetOf(ctx, e, c, size, turn*n, n)
		if err != nil {
			return err
		}
		if turn == 0 {
			first = got
		} else {
			r.goal(goal{Name: fmt.Sprintf("%d instances: p50 of the delay to that of one", size), Got: quantile(got.delays, 0.5) / max(quantile(first.delays, 0.5), 0.01), Sign: "<=", Want: 1.5, Rounds: 1})
			r.goal(goal{Name: fmt.Sprintf("%d instances: p99 of the delay to that of one", size), Got: quantile(got.delays, 0.99) / max(quantile(first.delays, 0.99), 0.01), Sign: "<=", Want: 1.5, Rounds: 1})
			r.goal(goal{Name: fmt.Sprintf("%d instances: rate of Validate to that of one", size), Got: got.rate / first.rate, Sign: ">=", Want: 0.9, Rounds: 1})
		}
		cells := delayCells(fmt.Sprint(size), got.delays)
		t.Rows = append(t.Rows, []string{cells[0], cells[1], cells[3], cells[4], fmt.Sprintf("%.0f", got.writes), got.cpu, fmt.Sprintf("%.0f", got.rate)})
	}
	r.table(t)
	r.note("Each instance has a change stream of its own, so the server looks at each write once for each instance. secantusd-py does all of it on one core: when that is full, everybody waits, and the writers do not get to their rate.")
	r.note("All instances, the writers and the server share this machine's cores, so that ten instances here are less than ten machines.")
	return nil
}

type fleetFigures struct {
	delays []float64
	writes float64
	cpu    string
	rate   float64
}

// fleetOf starts so many instances and measures them.
func fleetOf(ctx context.Context, e *env, c *collection, size, firstKey, n int) (fleetFigures, error) {
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
	written, stop, err := writeBeside(ctx, e, c)
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
	figures.cpu = "not known"
	if now := e.serverCPU(); cpu > 0 && now > 0 {
		figures.cpu = fmt.Sprintf("%.2f", (now-cpu).Seconds()/took)
	}
	slices.Sort(figures.delays)
	need := auth.Request{OrgID: "acme"}
	good := c.texts[c.size-100:]
	each, err := calls(good, 1, e.lasting(2*time.Second), func(key string) bool {
		v, _ := all[0].Validate(ctx, key, need)
		return v.Valid()
	})
	figures.rate = 1e9 / each
	e.say("%d instances: p50 %.2f ms, %.0f other writes a second", size, quantile(figures.delays, 0.5), figures.writes)
	return figures, err
}

// revokeEverywhere revokes a key and waits until every instance refuses it. The
// questions have a pause, or those about ten instances would take the machine.
func revokeEverywhere(ctx context.Context, c *collection, all []*instance, k int) ([]float64, error) {
	need := auth.Request{OrgID: "acme"}
	refused := make([]time.Time, len(all))
	var group sync.WaitGroup
	for n, i := range all {
		group.Go(func() { refused[n] = firstRefusal(ctx, i, c.texts[k], need, 100*time.Microsecond).answered })
	}
	_, err := c.UpdateByID(ctx, typical(k).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
	acknowledged := time.Now()
	if err != nil {
		return nil, err
	}
	group.Wait()
	var delays []float64
	for _, at := range refused {
		if at.IsZero() {
			return nil, errors.New("a revoked key is still valid after a minute")
		}
		delays = append(delays, milliseconds(at.Sub(acknowledged)))
	}
	return delays, nil
}

// writeBeside updates documents of another collection, as many a second as it may: a
// hundred at once, since one at a time is more than some servers can do.
func writeBeside(ctx context.Context, e *env, c *collection) (written *atomic.Int64, stop func(), err error) {
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

// serverCPU is what the row's own server has used, zero if that cannot be known.
func (e *env) serverCPU() time.Duration {
	if e.server == nil {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.server.Pid()))
	if err != nil {
		return 0
	}
	// proc(5): after the name in brackets, utime and stime are the fields 14 and 15 of
	// all, in ticks of a hundredth of a second.
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
