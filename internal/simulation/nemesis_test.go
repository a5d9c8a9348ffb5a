package simulation

import (
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// fault is one kind of fault. inject returns when it is over.
type fault struct {
	name   string
	inject func(w *world, c chance)
}

// disturb injects faults for so long: of the replica set, one after another, and at the same time of the
// network.
func (w *world) disturb(lasts time.Duration) {
	until := time.Now().Add(lasts)
	var lanes sync.WaitGroup
	for name, faults := range map[string][]fault{"replica set": faultsOfSet(), "network": faultsOfNetwork(), "more network": faultsOfNetwork()} {
		lanes.Add(1)
		c := w.dice.next("faults of the " + name)
		w.start(func() {
			defer lanes.Done()
			sleep(w.ctx, c.between(time.Microsecond, time.Second))
			for time.Now().Before(until) && !w.hasFailed() {
				f := pick(c, faults)
				w.trace("fault: %s", f.name)
				f.inject(w, c)
				w.trace("over: %s", f.name)
				sleep(w.ctx, c.between(time.Millisecond, 4*time.Second))
			}
		})
	}
	lanes.Wait()
}

// heal ends everything that may be left of the faults.
func (w *world) heal() {
	w.net.mutex.Lock()
	defer w.net.mutex.Unlock()
	w.net.failing, w.net.stalled = map[class]float64{}, map[class]time.Time{}
	w.net.slow, w.net.oddEvents, w.net.deposedShare = 0.01, 0, 0
	w.trace("healed")
}

// some is the length of a fault: mostly short, at times longer than max_stale.
func some(c chance) time.Duration {
	return c.between(5*time.Millisecond, pick(c, []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, 20 * time.Second}))
}

// faultsOfSet are faults of the replica set and of the collection.
func faultsOfSet() []fault {
	lag := fault{"the majority lags", func(w *world, c chance) {
		w.set.hold()
		sleep(w.ctx, some(c))
		w.set.release()
	}}
	lagReads := fault{"reads lag", func(w *world, c chance) {
		w.set.main.LagReads()
		sleep(w.ctx, some(c))
		w.set.main.CatchUpReads()
	}}
	return []fault{
		lag, lag, lagReads, lagReads,
		{"an election, with a rollback", func(w *world, c chance) {
			w.set.hold()
			sleep(w.ctx, some(c))
			w.set.rollback()
			if c.in(0.5) {
				w.set.stepDown()
				sleep(w.ctx, some(c))
				w.set.stepUp()
			}
		}},
		{"an election", func(w *world, c chance) {
			w.set.stepDown()
			sleep(w.ctx, some(c))
			w.set.stepUp()
		}},
		{"a node is cut off and does not know it", cutOff},
		{"the oplog rolls", func(w *world, c chance) {
			for range 1 + c.IntN(4) {
				w.net.stall(classStream, some(c))
				sleep(w.ctx, some(c))
				w.set.main.RollLog()
			}
		}},
		{"the collection is dropped", func(w *world, c chance) {
			w.withoutCollection(c, bson.E{Key: "drop", Value: w.truth.schema.Collection})
		}},
		{"the database is dropped", func(w *world, c chance) { w.withoutCollection(c, bson.E{Key: "dropDatabase", Value: int32(1)}) }},
		{"the collection is renamed away and back", renameAway},
		{"another collection is renamed onto it", renameOnto},
		{"restored from a snapshot", restore},
		{"the unique index is dropped", func(w *world, c chance) {
			w.set.mayFail(bson.E{Key: "dropIndexes", Value: w.truth.schema.Collection}, bson.E{Key: "index", Value: "key_hash_1"})
			sleep(w.ctx, some(c))
			w.createIndex()
		}},
		{"no-ops", func(w *world, c chance) {
			for range c.IntN(10) {
				w.set.main.TickNoop()
				sleep(w.ctx, c.between(time.Millisecond, time.Second))
			}
		}},
		{"heartbeats of other instances", func(w *world, c chance) {
			for range c.IntN(10) {
				w.set.mayFail(bson.E{Key: "update", Value: "keytail_heartbeats"}, bson.E{Key: "updates", Value: bson.A{bson.D{
					{Key: "q", Value: bson.D{{Key: "_id", Value: "other/1"}}}, {Key: "u", Value: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}}}, {Key: "upsert", Value: true},
				}}}, bson.E{Key: "writeConcern", Value: bson.D{{Key: "w", Value: int32(1)}}})
				sleep(w.ctx, c.between(time.Millisecond, time.Second))
			}
		}},
	}
}

// cutOff lets a node believe that it leads, while another one does.
func cutOff(w *world, c chance) {
	w.set.depose()
	w.net.mutex.Lock()
	w.net.deposedShare = c.Float64()
	w.net.mutex.Unlock()
	if c.in(0.7) {
		w.net.silenceStreams(true)
	}
	sleep(w.ctx, some(c))
	w.net.silenceStreams(false)
	w.set.learn()
}

// withoutCollection removes the collection, and creates it again later.
func (w *world) withoutCollection(c chance, command bson.E) {
	w.truth.exists(false)
	w.set.run(command)
	w.observe()
	sleep(w.ctx, some(c))
	w.truth.exists(true)
	w.set.mayFail(bson.E{Key: "create", Value: w.truth.schema.Collection})
	w.createIndex()
	w.insertSome(w.truth.schema.Collection, c)
	w.observe()
}

// insertSome inserts a document for some of the keys, each with a hash of its own.
func (w *world) insertSome(collection string, c chance) {
	p := &writer{chance: c, world: w, name: "o", version: c.IntN(1 << 20)}
	var inserted bson.A
	for i, k := range keys[:1+c.IntN(len(keys)-1)] {
		inserted = append(inserted, append(bson.D{{Key: "_id", Value: documents[i]}}, with(p.document(), "key_hash", k.stored)...))
	}
	w.set.mayFail(bson.E{Key: "insert", Value: collection}, bson.E{Key: "documents", Value: inserted}, bson.E{Key: "writeConcern", Value: bson.D{{Key: "w", Value: int32(1)}}})
}

// renameAway gives the collection another name for a moment.
func renameAway(w *world, c chance) {
	w.truth.exists(false)
	w.set.rename(w.truth.schema.Collection, "elsewhere")
	w.observe()
	sleep(w.ctx, some(c))
	w.truth.exists(true)
	w.set.rename("elsewhere", w.truth.schema.Collection)
	w.observe()
}

// renameOnto replaces the collection by another one, as $out does.
func renameOnto(w *world, c chance) {
	w.insertSome("temporary", c)
	sleep(w.ctx, c.between(time.Millisecond, 100*time.Millisecond))
	w.set.rename("temporary", w.truth.schema.Collection)
	w.createIndex()
	w.observe()
}

// rename renames a collection, onto another one if there is one.
func (s *replicaSet) rename(from, to string) {
	_, err := s.main.Execute(s.world.ctx, bson.D{
		{Key: "renameCollection", Value: database + "." + from}, {Key: "to", Value: database + "." + to}, {Key: "dropTarget", Value: true}, {Key: "$db", Value: "admin"},
	})
	if err != nil {
		panic(err)
	}
}

// restore sets the data and the oplog back, as an operator does with a snapshot of the disk. Without a heartbeat
// that was acknowledged since the snapshot, nothing distinguishes the two histories (changestream/DESIGN.md, "A
// restore is a loss"): then there is no restore.
func restore(w *world, c chance) {
	snapshot, taken := w.set.main.Snapshot(), time.Now()
	sleep(w.ctx, c.between(100*time.Millisecond, 20*time.Second))
	if !w.net.acknowledgedAfter(taken) {
		return
	}
	w.mutex.Lock()
	w.revisions = nil
	w.mutex.Unlock()
	w.set.restore(snapshot)
}

// stall keeps everything of a class from arriving for so long.
func (n *network) stall(of class, lasts time.Duration) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.stalled[of] = time.Now().Add(lasts)
}

// faultsOfNetwork are faults of connections, and codes that servers answer.
func faultsOfNetwork() []fault {
	return []fault{
		{"nothing arrives", func(w *world, c chance) {
			lasts := some(c)
			for _, of := range faultyClasses {
				w.net.stall(of, lasts)
			}
			sleep(w.ctx, lasts)
		}},
		{"some commands do not arrive", func(w *world, c chance) {
			of, lasts := pick(c, faultyClasses), some(c)
			w.trace("fault: these are of class %s", of)
			w.net.stall(of, lasts)
			sleep(w.ctx, lasts)
		}},
		{"some commands fail", func(w *world, c chance) {
			of := pick(c, faultyClasses)
			w.trace("fault: these are of class %s", of)
			w.net.fail(of, c.Float64())
			sleep(w.ctx, some(c))
			w.net.fail(of, 0)
		}},
		{"some commands are slow", func(w *world, c chance) {
			w.net.setSlow(c.Float64())
			sleep(w.ctx, some(c))
			w.net.setSlow(0.03)
		}},
		{"odd events", func(w *world, c chance) {
			w.net.setOdd(c.Float64())
			sleep(w.ctx, some(c))
			w.net.setOdd(0)
		}},
	}
}

func (n *network) fail(of class, probability float64) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.failing[of] = probability
}

func (n *network) setSlow(probability float64) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.slow = probability
}

func (n *network) setOdd(probability float64) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.oddEvents = probability
}
