package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// database holds the keys and the heartbeats.
const database = "app"

// key is a key that clients ask for.
type key struct {
	name, text, stored string
	hash               apikey.Hash
}

// keys are all keys of a run. The last one never exists.
var keys = makeKeys("k0", "k1", "k2", "k3", "k4", "absent")

func makeKeys(names ...string) []*key {
	made := make([]*key, len(names))
	for i, name := range names {
		text := "simulated-key-" + strings.Repeat(name, 8)
		hash, err := apikey.Parse(apikey.DefaultPrefix, text)
		if err != nil {
			panic(err)
		}
		made[i] = &key{name: name, text: text, stored: keystore.DefaultSchema().HashStored(hash).(string), hash: hash}
	}
	return made
}

// soon is a cluster time that no run reaches.
const soon = uint64(2_000_000_000) << 32

// world is one run.
type world struct {
	seed     uint64
	settings settings
	dice     *dice
	ctx      context.Context
	stop     context.CancelFunc
	group    sync.WaitGroup

	set   *replicaSet
	net   *network
	truth *truth
	core  *core

	mutex sync.Mutex
	// wrong is what the oracle has found. It ends the run.
	wrong []string
	// lines is the trace. Nil: none is kept.
	lines []line
	// tracing keeps a trace.
	tracing bool
	// revisions are those that writers have been told of in this history, with the number of restores before.
	revisions []uint64
	counts    counts
}

// counts is what a run has had.
type counts struct{ answers, unavailable, fromCache, changes, losses, scans int }

// readsEnd is longer than a read that belongs to no caller any more lasts.
const readsEnd = 5 * time.Second

// line is a line of the trace.
type line struct {
	at   time.Time
	text string
}

// result is the result of a run.
type result struct {
	wrong  []string
	trace  []string
	counts counts
	lasted time.Duration
}

// simulate runs the simulation with a seed.
func simulate(t *testing.T, seed uint64, tracing bool) (r result) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{seed: seed, dice: newDice(seed), tracing: tracing}
		w.settings = newSettings(w.dice.next("settings"))
		w.ctx, w.stop = context.WithCancel(context.Background())
		if err := w.build(); err != nil {
			t.Fatal(err)
		}
		w.run()
		time.Sleep(readsEnd)
		w.stop()
		w.group.Wait()
		synctest.Wait()
		r = result{wrong: w.wrong, trace: w.sorted(), counts: w.counts, lasted: time.Since(began)}
	})
	return r
}

// build makes the replica set, the documents and the core.
func (w *world) build() error {
	var err error
	if w.set, err = newReplicaSet(w, w.settings.oplog); err != nil {
		return err
	}
	w.net = newNetwork(w, w.set)
	w.truth = &truth{schema: keystore.DefaultSchema()}
	w.createCollection()
	w.insertSome(w.truth.schema.Collection, w.dice.next("first documents"))
	w.set.run(bson.E{Key: "create", Value: "keytail_heartbeats"})
	w.observe()
	w.core, err = newCore(w)
	return err
}

// createCollection creates the collection of the keys, with its index or without.
func (w *world) createCollection() {
	w.set.run(bson.E{Key: "create", Value: w.truth.schema.Collection})
	w.createIndex()
}

func (w *world) createIndex() {
	if !w.settings.uniqueIndex {
		return
	}
	w.set.mayFail(bson.E{Key: "createIndexes", Value: w.truth.schema.Collection}, bson.E{Key: "indexes", Value: bson.A{bson.D{
		{Key: "key", Value: bson.D{{Key: "key_hash", Value: int32(1)}}}, {Key: "name", Value: "key_hash_1"}, {Key: "unique", Value: true}, {Key: "sparse", Value: true},
	}}})
}

// start runs something until the end of the run.
func (w *world) start(run func()) {
	w.group.Add(1)
	go func() {
		defer w.group.Done()
		run()
	}()
}

// observe notes the state of the collection after a command.
func (w *world) observe() {
	w.set.mutex.Lock()
	held := w.set.held
	w.set.mutex.Unlock()
	reply := w.set.run(bson.E{Key: "find", Value: w.truth.schema.Collection})
	s := w.truth.note(reply, held)
	w.count(func(c *counts) { c.changes++ })
	if w.tracing {
		w.trace("state: held=%v %s", held, s.all())
	}
}

func (s *state) all() string {
	text := s.time.String()
	for _, d := range s.documents {
		names := ""
		for _, k := range keys {
			if d.Hash == k.hash || slices.Contains(d.OtherHashes, k.hash) {
				names += k.name + ","
			}
		}
		text += " | " + strings.TrimSuffix(names, ",") + ": " + describe(&d.Record)
	}
	return text
}

// trace notes what happens, if a trace is kept.
func (w *world) trace(format string, args ...any) {
	if !w.tracing {
		return
	}
	text := fmt.Sprintf(format, args...)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.lines = append(w.lines, line{time.Now(), text})
}

// traceReply notes the execution of a command.
func (w *world) traceReply(c *command, reply bson.D) {
	if !w.tracing {
		return
	}
	text := "ok"
	if lookup(reply, "ok") != 1.0 {
		text = fmt.Sprintf("code %v", lookup(reply, "code"))
	}
	if part, ok := lookup(reply, "cursor").(bson.D); ok {
		for _, name := range []string{"firstBatch", "nextBatch"} {
			documents, _ := lookup(part, name).([]bson.Raw)
			for _, document := range documents {
				text += " " + summary(document)
			}
		}
		if lookup(part, "id") == int64(0) {
			text += " (the cursor has ended)"
		}
	}
	w.trace("server: %s: %s: %s %s", c.who, c.label, text, c.fate)
}

// summary is a document or an event in a few words.
func summary(document bson.Raw) string {
	if kind, ok := document.Lookup("operationType").StringValueOK(); ok {
		seconds, increment, _ := document.Lookup("clusterTime").TimestampOK()
		id, _ := document.Lookup("documentKey", "_id").StringValueOK()
		if strings.Contains(id, "/") {
			id = "heartbeat"
		}
		return fmt.Sprintf("[%s %s %08x%08x]", kind, id, seconds, increment)
	}
	id, _ := document.Lookup("_id").StringValueOK()
	name, _ := document.Lookup("name").StringValueOK()
	return fmt.Sprintf("{%s %s}", id, name)
}

// sorted is the trace in its order. What happens at the same moment has no order of its own.
func (w *world) sorted() []string {
	slices.SortFunc(w.lines, func(a, b line) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return strings.Compare(a.text, b.text)
	})
	texts := make([]string, len(w.lines))
	for i, l := range w.lines {
		texts[i] = clock(l.at) + " " + l.text
	}
	return texts
}

func (w *world) count(change func(*counts)) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	change(&w.counts)
}

// violate notes that something is wrong.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.trace("VIOLATION: %s", text)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.wrong = append(w.wrong, clock(time.Now())+" "+text)
}

func (w *world) hasFailed() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.wrong) > 0
}
