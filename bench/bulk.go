package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/timing"
)

type bulkCommand struct {
	Keys  int           `default:"50000" help:"How many keys the collection has. One command changes all of them."`
	Watch time.Duration `default:"60s" help:"How long to look at the keys afterwards."`
}

// bulkSides are the services that are compared.
var bulkSides = []struct {
	name string
	// queue and share are RefreshQueue and OutdatedShare of the service.
	queue int
	share float64
}{
	{"a queue of 4,096, no scan", 4096, 1},
	{"a queue of 4,096, then a scan", 4096, 0},
	{"the default queue, then a scan", 0, 0},
}

// Run changes every key with one updateMany, and prints how many keys need a read afterwards, without
// and with scans that follow dropped refreshes; then what it costs to read a key in different ways.
func (c *bulkCommand) Run(ctx context.Context, o *options) error {
	e, err := newEnv(o, "bulk")
	if err != nil {
		return err
	}
	defer e.close()
	if e.Quick {
		c.Keys, c.Watch = 500, time.Second
	}
	keys, err := e.newCollection(ctx, c.Keys)
	if err != nil {
		return err
	}
	defer keys.drop()
	after := table{
		Title: fmt.Sprintf("One updateMany of %d keys. Share of keys that need a read, this long after keytail has applied the last event", c.Keys),
		Head:  []string{"refreshes", "events applied after"},
	}
	for _, at := range c.times() {
		after.Head = append(after.Head, at.String())
	}
	after.Head = append(after.Head, "0 % after", "dropped refreshes")
	var costs table
	for _, side := range bulkSides {
		e.progress("%s", side.name)
		i, err := e.start(ctx, keys, func(d *daemon.Config) { d.RefreshQueue, d.OutdatedShare = side.queue, side.share })
		if err != nil {
			return err
		}
		row, err := c.change(ctx, e, keys, i)
		if err == nil {
			costs, err = readCosts(ctx, keys, i)
		}
		i.stop()
		if err != nil {
			return err
		}
		after.Rows = append(after.Rows, append([]string{side.name}, row...))
	}
	var text bytes.Buffer
	writeTable(&text, after)
	writeTable(&text, costs)
	fmt.Print(text.String())
	return nil
}

// times are when the keys are looked at.
func (c *bulkCommand) times() []time.Duration {
	var all []time.Duration
	for _, at := range []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, time.Minute} {
		if at <= c.Watch {
			all = append(all, at)
		}
	}
	return all
}

// change changes every key, and returns the cells of the table.
func (c *bulkCommand) change(ctx context.Context, e *env, keys *collection, i *instance) ([]string, error) {
	hashes := make([]apikey.Hash, len(keys.keys))
	for n, key := range keys.keys {
		hashes[n] = apikey.HashOf(key)
	}
	needARead := func() float64 {
		n := 0
		for _, h := range hashes {
			if _, ok := i.Core.Cache.Get(h); !ok {
				n++
			}
		}
		return float64(n) / float64(len(hashes))
	}
	applied, err := applyUpdate(ctx, keys, i)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	cells := []string{fmt.Sprintf("%.1f s", applied.Seconds())}
	var none time.Duration
	for times := c.times(); len(times) > 0; {
		share, passed := needARead(), time.Since(began)
		if share == 0 && none == 0 {
			none = passed
			e.progress("no key needs a read after %v", passed)
		}
		for len(times) > 0 && passed >= times[0] {
			cells, times = append(cells, fmt.Sprintf("%.1f %%", 100*share)), times[1:]
			e.progress("%.1f %% need a read after %v", 100*share, passed.Round(time.Millisecond))
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
	noneText := "never"
	if none > 0 {
		noneText = fmt.Sprintf("%.1f s", none.Seconds())
	}
	return append(cells, noneText, fmt.Sprint(i.Core.Cache.Stats().RefreshesDropped)), nil
}

// applyUpdate updates every key with one command, and returns how long after its acknowledgement all
// events have been applied.
func applyUpdate(ctx context.Context, keys *collection, i *instance) (time.Duration, error) {
	all := i.Core.Cache.Stats().Changes + uint64(len(keys.keys))
	if _, err := keys.updateAll(ctx, 1); err != nil {
		return 0, err
	}
	acknowledged := time.Now()
	for i.Core.Cache.Stats().Changes < all {
		if err := pause(ctx); err != nil {
			return 0, err
		}
	}
	return time.Since(acknowledged), nil
}

// pause is between two looks at a cache.
func pause(ctx context.Context) error {
	if !timing.Sleep(ctx, 50*time.Millisecond) {
		return context.Cause(ctx)
	}
	return nil
}

// readCosts measures how long it takes to read a key by a scan, in a batch of a hundred as a
// refresh reads it, and on its own as a request reads it, one after the other.
func readCosts(ctx context.Context, keys *collection, i *instance) (table, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const batch = 100
	n := min(1000, len(keys.keys))
	store, after := i.Core.Store, i.Core.Cache.Begin().Floor()
	var ids []apikey.DocID
	began := time.Now()
	for _, key := range keys.keys[:n] {
		document, _, err := store.FindByHash(ctx, apikey.HashOf(key), after)
		if err != nil {
			return table{}, err
		}
		ids = append(ids, document.ID)
	}
	single := time.Since(began) / time.Duration(n)
	began = time.Now()
	for first := 0; first < n; first += batch {
		if _, err := store.FindByIDs(ctx, ids[first:min(n, first+batch)], after); err != nil {
			return table{}, err
		}
	}
	batched := time.Since(began) / time.Duration(n)
	began = time.Now()
	if err := store.Scan(ctx, after, func(*keystore.Document) error { return nil }); err != nil {
		return table{}, err
	}
	scanned := time.Since(began) / time.Duration(len(keys.keys))
	times := func(d time.Duration) []string {
		return []string{d.String(), fmt.Sprintf("%.1f", float64(d)/float64(scanned))}
	}
	return table{
		Title: "Time to read one key, by a scan, by a refresh, and by a request",
		Head:  []string{"read", "time", "times a scan's"},
		Rows: [][]string{
			append([]string{"scan of all keys"}, times(scanned)...), append([]string{"refresh, a hundred keys at once"}, times(batched)...),
			append([]string{"request, one key"}, times(single)...),
		},
	}, nil
}
