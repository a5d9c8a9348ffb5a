package nemesis

import (
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

const (
	// restoredAfter is the minimum time between snapshot and restore: a heartbeat must be
	// acknowledged in between, otherwise the two histories are indistinguishable
	// (internal/changestream/DESIGN.md).
	restoredAfter = 3 * nemesisMaxStale / 12
	// quietBefore is longer than the server waits in a getMore without events, so that
	// all streams have a high-water token.
	quietBefore = 1300 * time.Millisecond
)

// restores returns faults that restore the server from an earlier copy of its disk, data
// and oplog, while the instances run. That undoes all acknowledged writes since the copy:
// the history records the restore as a write of every key.
func (a *testbed) restores(load *workload, d *mongotest.Devmongo) map[string]fault {
	admin := connectWithShortTimeouts(a.t, &d.Server, "operator").Database("admin")
	restore := func(before func()) fault {
		return func([]*instance) func() {
			snapshot, slots := a.snapshot(load, d.Node)
			pause(restoredAfter)
			return func() {
				load.pauseWriters.Lock()
				defer load.pauseWriters.Unlock()
				before()
				load.restore(d.Node, snapshot, slots)
			}
		}
	}
	return map[string]fault{
		"restored in place": restore(func() {}),
		"restored in place, quiet": restore(func() {
			// Without heartbeats the last token of each stream is that of an empty batch.
			// The code does not change the driver's view of the server.
			setFailpoint(a.t, admin, "alwaysOn", bson.D{{Key: "failCommands", Value: bson.A{"update", "findAndModify"}}, {Key: "errorCode", Value: 11601}})
			pause(quietBefore)
		}),
	}
}

// snapshot settles all keys, and returns a copy of the disk with the state of each slot.
func (a *testbed) snapshot(load *workload, node *devmongo.Server) (*devmongo.Snapshot, map[*slot]slot) {
	load.pauseWriters.Lock()
	defer load.pauseWriters.Unlock()
	a.repeat("finding out what the keys are", load.settleAll)
	load.forgetRetired()
	slots := map[*slot]slot{}
	for _, s := range load.slots {
		slots[s] = *s
	}
	return node.Snapshot(), slots
}

// restore restores the snapshot. Keys that were created after it do not exist then.
func (a *workload) restore(node *devmongo.Server, snapshot *devmongo.Snapshot, slots map[*slot]slot) {
	sent := time.Now()
	var acks []func(time.Time)
	for _, s := range a.slots {
		was, known := slots[s]
		if !known {
			was = slot{condition: condition{state: apikey.NotFound}, generation: s.generation}
		}
		s.condition, s.current, s.generation, s.certain = was.condition, was.current, was.generation, true
		acks = append(acks,
			a.history.AddExpiringWrite(s.subjects[s.current].label, s.state, sent, s.expires),
			a.history.AddWrite(s.subjects[1-s.current].label, apikey.NotFound, sent))
	}
	node.Restore(snapshot)
	acknowledge(acks)
}

// timeFaults returns faults of time: slow resumes, and primaries whose clocks differ.
func (a *testbed) timeFaults(d *mongotest.Devmongo) map[string]fault {
	fail := func() { d.Node.StepDown(0); d.Node.StepUp() }
	return map[string]fault{
		"slow resumes": func(victims []*instance) func() {
			d.Node.DelayResumes(soleVictim(victims), time.Hour)
			fail() // all streams end
			return func() { d.Node.DelayResumes("", 0) }
		},
		"slow resumes until the loss": func(victims []*instance) func() {
			began := time.Now()
			d.Node.DelayResumes(soleVictim(victims), time.Hour)
			fail()
			return func() {
				a.mustLose(victims, began)
				d.Node.DelayResumes("", 0)
			}
		},
		"clocks apart": func(victims []*instance) func() {
			// One instance is not connected to the new primary, whose clock is ahead by
			// more than the maximum time between an instance's heartbeats.
			d.Node.SetWallClock(clocksDiffer)
			d.Node.BlackHole(victims[0].appName)
			fail()
			return func() {
				d.Node.SetWallClock(0)
				d.Node.Heal()
				fail()
			}
		},
	}
}

// catchingUp is the maximum time for which a stream may catch up: max_stale, after which
// answers from the cache end, the minimum bound of internal/changestream/DESIGN.md (5s),
// and a margin for a busy machine.
const catchingUp = nemesisMaxStale + 5*time.Second + 4*time.Second

// mustLose waits until each victim has lost its history and opened a new stream.
func (a *testbed) mustLose(victims []*instance, began time.Time) {
	a.t.Helper()
	behind := victims
	for len(behind) > 0 {
		behind = slices.DeleteFunc(slices.Clone(behind), func(i *instance) bool {
			loss, ok := i.lastLoss()
			return ok && loss.At.After(began)
		})
		if time.Since(began) > catchingUp {
			for _, i := range behind {
				a.t.Errorf("%s has been catching up for %v without opening a new stream", i.name, time.Since(began).Round(time.Millisecond))
			}
			return
		}
		pause(20 * time.Millisecond)
	}
	a.t.Logf("%d instances opened new streams %v after a resume that does not end", len(victims), time.Since(began).Round(time.Millisecond))
}

// clocksDiffer is more than max_stale and the margin of a fleet's list (5s).
const clocksDiffer = nemesisMaxStale + 20*time.Second

// soleVictim returns the client name to which failpoints are limited. Empty: all clients.
func soleVictim(victims []*instance) string {
	if len(victims) == 1 {
		return victims[0].appName
	}
	return ""
}
