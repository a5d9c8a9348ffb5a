package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/keytail/keytail/bench/fleetsim"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/usage"
)

var fleetRow = row{
	name:         "fleet",
	title:        "a fleet of up to a thousand instances, simulated",
	measures:     "1 to 1,000 virtual instances in virtual time, with the product's own intervals; and 1, 10 and 30 real instances in this process on devmongo, to check the simulation against",
	comparedWith: "the simulation with the measured ones",
	goals:        "heartbeats and writes of uses within a quarter of the simulation; the recovery is reported without a goal, because all instances share two cores",
	run:          measureFleet,
}

// What is simulated. simulatedActive is how many keys each instance answers for all the time.
var (
	simulatedSizes = []int{1, 10, 100, 1000}
	simulatedKeys  = []float64{1e4, 1e5, 1e6, 1e7, 1e8}
)

const (
	simulatedActive = 1000
	// simulatedMembers is the replica set of the connection counts.
	simulatedMembers = 3
	// monitorsPerMember are the driver's connections to watch each member: one for its state and one for
	// the round-trip time.
	monitorsPerMember = 2
	// atRest is how many connections an instance uses at a time when nothing is read: those of the
	// stream, and of a heartbeat, a flush or the list, one after the other.
	atRest = 2
)

// mongodCosts are the costs of the figures for a real deployment, from the preload row on a mongod
// 4.4 (issue 18: 0.75 s for a bare cursor over a million keys, 6.95 s for a preload) and from the
// heap that a key takes with all that belongs to it (docs/deploy.md, Memory).
var mongodCosts = fleetsim.Costs{DocumentBytes: 300, MemberRate: 1e6 / 0.75, InstanceRate: 1e6 / 6.95, BytesPerKey: 236}

// oplogEntry is what an oplog entry has beside the changed fields and the _id: the times, the namespace,
// the collection's UUID, and the session of a retryable write. An estimate from the format of MongoDB 6.
const oplogEntry = 300

func measureFleet(ctx context.Context, e *env, r *result) error {
	bytes, err := measureRealFleets(ctx, e, r)
	if err != nil {
		return err
	}
	simulateSteady(e, r, bytes)
	simulateRecovery(r)
	r.note(fmt.Sprintf("Simulated with max_stale %v, %d keys that every instance answers for all the time, and a set of %d members. The oplog has the measured size of keytail's updates and %d bytes an entry for what MongoDB adds. The peak is that of a fleet whose instances all start within a second.",
		keycache.DefaultMaxStale, simulatedActive, simulatedMembers, oplogEntry))
	r.note(fmt.Sprintf("Scans: a member sends %.2g documents a second to all instances together, an instance stores %.2g, on a mongod (rows preload and cold), and a key takes %.0f bytes of an instance's heap; the process needs more (deploy.md).",
		mongodCosts.MemberRate, mongodCosts.InstanceRate, mongodCosts.BytesPerKey))
	return nil
}

// simulateSteady adds what a fleet writes and reads all the time.
func simulateSteady(e *env, r *result, bytes updateBytes) {
	const lasts = 3 * time.Hour
	t := table{
		Title: "The steady state, all instances together, per second",
		Head: []string{
			"instances", "heartbeat of each instance", "heartbeats", "writes of uses", "the most in a second after a start", "oplog, KB", "reads of the list", "documents of the list",
			"keytail's entries that streams pass over", "streams (open cursors)", "connections at rest", "connections at most",
		},
	}
	beats, uses, was := series{Name: "heartbeats"}, series{Name: "writes of uses"}, series{Name: "both, without growing intervals"}
	for _, n := range simulatedSizes {
		e.progress("%d virtual instances", n)
		got := fleetsim.Steady(fleetsim.Fleet{Instances: n, ActiveKeys: simulatedActive, MaxStale: keycache.DefaultMaxStale}, lasts)
		oplog := got.Heartbeats*(bytes.heartbeat+oplogEntry) + got.UsageWrites*(bytes.use+oplogEntry)
		t.Rows = append(t.Rows, []string{
			fmt.Sprint(n), changestream.HeartbeatInterval(n, keycache.DefaultMaxStale).String(),
			number(got.Heartbeats), number(got.UsageWrites), number(got.UsagePeak), number(oplog / 1000), number(got.ListReads), number(got.ListDocuments),
			number(got.Passed), fmt.Sprint(n), fmt.Sprint(n * (atRest + simulatedMembers*monitorsPerMember)), fmt.Sprint(n * (mongoclient.DefaultPoolSize + simulatedMembers*monitorsPerMember)),
		})
		x := float64(n)
		beats.X, beats.Y = append(beats.X, x), append(beats.Y, got.Heartbeats)
		uses.X, uses.Y = append(uses.X, x), append(uses.Y, got.UsageWrites)
		was.X, was.Y = append(was.X, x), append(was.Y, x*(1+simulatedActive/usage.DefaultInterval.Seconds()))
	}
	r.table(t)
	r.plot(chart{Name: "writes", Title: "Writes of a whole fleet", X: "instances", Y: "writes per second", LogX: true, LogY: true, LegendLeft: true, Series: []series{was, uses, beats}})
}

// simulateRecovery adds what scans cost, by the number of keys.
func simulateRecovery(r *result) {
	t := table{
		Title: "Memory, audits, and the time from a loss that all instances have at the same moment until all are complete again",
		Head:  []string{"keys", "instances", "GiB of heap of each", "documents a second that audits read", "share of the time in an audit", "one member serves: all complete", "scans at once", "two secondaries serve: all complete"},
	}
	plot := chart{Name: "recovery", Title: "Until all instances are complete after a loss, one member serves", X: "keys", Y: "seconds", LogX: true, LogY: true, LegendLeft: true}
	lines := make([]series, len(simulatedSizes))
	for _, keys := range simulatedKeys {
		for i, n := range simulatedSizes {
			one, two := fleetsim.Recover(n, 1, keys, mongodCosts), fleetsim.Recover(n, 2, keys, mongodCosts)
			share, documents := fleetsim.Audits(n, keys, mongodCosts)
			t.Rows = append(t.Rows, []string{
				fmt.Sprintf("10^%.0f", math.Log10(keys)), fmt.Sprint(n), number(keys * mongodCosts.BytesPerKey / (1 << 30)), number(documents), fmt.Sprintf("%.2g %%", 100*share),
				brief(one.Last), fmt.Sprint(one.AtOnce), brief(two.Last),
			})
			lines[i].Name = fmt.Sprintf("instances: %d", n)
			lines[i].X, lines[i].Y = append(lines[i].X, keys), append(lines[i].Y, one.Last.Seconds())
		}
	}
	r.table(t)
	for i := len(lines) - 1; i >= 0; i-- {
		plot.Series = append(plot.Series, lines[i])
	}
	r.plot(plot)
}

// brief is a duration for a table.
func brief(d time.Duration) string {
	for _, unit := range []time.Duration{time.Minute, time.Second, 10 * time.Millisecond} {
		if d >= 10*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(time.Millisecond).String()
}
