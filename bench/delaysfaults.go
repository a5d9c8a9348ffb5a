package main

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/bench/delays"
	"github.com/keytail/keytail/bench/network"
	"github.com/keytail/keytail/internal/timing"
)

// knownFault is a fault that every server may have.
type knownFault struct {
	name string
	// means says for the page what the fault is.
	means string
	// effect is what keytail must notice.
	effect delays.Effect
	// ofPrimary: a set with a successor of the primary survives it.
	ofPrimary bool
}

// The names of the faults.
const (
	faultNone          = "none"
	faultElection      = "election"
	faultPausedPrimary = "paused-primary"
	faultLostMajority  = "lost-majority"
	faultHistoryLost   = "history-lost"
	faultServerKilled  = "server-killed"
	faultKeytailKilled = "keytail-killed"
	faultSlowDisk      = "slow-disk"
	faultNetworkCut    = "network-cut"
)

// knownFaults are in the order of a run.
var knownFaults = []knownFault{
	{faultNone, "nothing fails, for comparison", delays.AnyEffect, false},
	{faultElection, "the primary steps down, and a primary is elected", delays.AnyEffect, false},
	{faultPausedPrimary, "the primary stands still: connections stay open, and nothing is answered", delays.Outage, true},
	{faultLostMajority, "the primary takes writes, and no majority acknowledges them", delays.Outage, false},
	{faultHistoryLost, "the oplog is too small: it no longer has the position of the change stream", delays.Loss, false},
	{faultServerKilled, "`kill -9` of the server, which starts again at the end of the fault", delays.Outage, true},
	{faultKeytailKilled, "`kill -9` of keytail, which is started again at once", delays.AnyEffect, false},
	{faultSlowDisk, "each write takes up to 400 ms longer until it is committed", delays.AnyEffect, false},
	{faultNetworkCut, "all bytes between keytail and MongoDB are lost, while other clients reach MongoDB", delays.Outage, false},
}

func faultNames() []string {
	names := make([]string, len(knownFaults))
	for i := range knownFaults {
		names[i] = knownFaults[i].name
	}
	return names
}

// commitDelay is the longest delay of a commit on a slow disk.
const commitDelay = 400 * time.Millisecond

// chooseFaults returns the faults of a run on a server.
func (c *delaysCommand) chooseFaults(s *delaysServer) []delays.Fault {
	var all []delays.Fault
	made := s.faults(c.For)
	for _, known := range knownFaults {
		if len(c.Only) > 0 && !slices.Contains(c.Only, known.name) {
			continue
		}
		f := made[known.name]
		if command := c.Fault[known.name]; command != "" {
			f = s.commandFault(command, c.Heal[known.name])
		}
		if f.Begin == nil && f.How == "" {
			f.How = "not possible on this server without a command: give one with `--fault-command " + known.name + "=…`"
		}
		if !known.ofPrimary || !s.succeeded {
			f.Effect = known.effect
		}
		f.Name = known.name
		all = append(all, f)
	}
	return all
}

// faults are the ways in which the faults can be made on the server. Those that are missing
// need a command.
func (s *delaysServer) faults(lasts time.Duration) map[string]delays.Fault {
	all := s.faultsFromOutside(lasts)
	switch {
	case s.node != nil:
		maps.Copy(all, s.devmongoFaults())
	case s.process != nil:
		maps.Copy(all, s.secantusFaults())
	}
	return all
}

// beginning turns two steps into the Begin of a fault.
func beginning(begin, end func() error) func(context.Context) (func() error, error) {
	return func(context.Context) (func() error, error) { return end, begin() }
}

// devmongoFaults are those that only the in-memory server can make.
func (s *delaysServer) devmongoFaults() map[string]delays.Fault {
	node := s.node
	return map[string]delays.Fault{
		faultPausedPrimary: {
			How:   "every reply waits until the end of the fault",
			Begin: beginning(func() error { node.Freeze(""); return nil }, func() error { node.Heal(); return nil }),
		},
		faultLostMajority: {
			How:   "the commit point stands still",
			Begin: beginning(func() error { node.HoldMajority(); return nil }, func() error { node.ReleaseMajority(); return nil }),
		},
		faultHistoryLost: {
			How:   "the network is cut for half a second, and meanwhile the oplog drops all but its last change",
			Short: true,
			Begin: s.cutWhile(func(ctx context.Context) error {
				timing.Sleep(ctx, 500*time.Millisecond)
				node.RollLog()
				return nil
			}),
		},
		faultServerKilled: {How: "not possible on devmongo: its data is in memory"},
		faultSlowDisk: {
			How: "the commit point stands still for 0 to 400 ms, again and again",
			Begin: func(ctx context.Context) (func() error, error) {
				ctx, cancel := context.WithCancel(ctx)
				done := make(chan struct{})
				go func() {
					defer close(done)
					for ctx.Err() == nil {
						node.HoldMajority()
						timing.Sleep(ctx, time.Duration(rand.Int64N(int64(commitDelay))))
						node.ReleaseMajority()
					}
				}()
				return func() error { cancel(); <-done; return nil }, nil
			},
		},
	}
}

// cutWhile closes the daemon's connections, and refuses new ones while it does something.
func (s *delaysServer) cutWhile(do func(context.Context) error) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (func() error, error) {
		s.proxy.Stop()
		return s.proxy.Start, do(ctx)
	}
}

// secantusFaults are those of a SecantusDB process.
func (s *delaysServer) secantusFaults() map[string]delays.Fault {
	signal := func(number syscall.Signal) func() error {
		return func() error { return syscall.Kill(s.process.Pid(), number) }
	}
	return map[string]delays.Fault{
		faultPausedPrimary: {How: "SIGSTOP, and SIGCONT at the end", Begin: beginning(signal(syscall.SIGSTOP), signal(syscall.SIGCONT))},
		faultLostMajority:  {How: "not possible on SecantusDB: it is a single node, which is its own majority"},
		faultHistoryLost: {
			How:   "the network is cut, and meanwhile another client makes 3,000 changes, more than the oplog holds",
			Short: true,
			Begin: s.cutWhile(s.fillOplog),
		},
		faultServerKilled: {
			How:   "SIGKILL, and a start with the same data at the end",
			Begin: beginning(func() error { s.process.Kill9(); return nil }, s.process.Reopen),
		},
	}
}

// fillOplog makes so many changes that the oplog forgets those before.
func (s *delaysServer) fillOplog(ctx context.Context) error {
	other := s.admin.Client().Database("bench_other")
	documents := make([]any, secantusOplog/2)
	for i := range documents {
		documents[i] = bson.D{{Key: "n", Value: i}}
	}
	for range 3 {
		if _, err := other.Collection("changes").InsertMany(ctx, documents); err != nil {
			return err
		}
	}
	return nil
}

// cutNetwork loses all bytes in both directions.
func (s *delaysServer) cutNetwork(context.Context) (func() error, error) {
	return s.proxy.Break(network.LoseRequests, network.LoseReplies)
}
