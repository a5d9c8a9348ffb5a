package soak

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keytail/keytail/bench/network"
	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/timing"
)

// fault breaks something, and returns the function that repairs it.
type fault func() (repair func() error, err error)

// faults are what can happen between the daemon and the server, and to a server that the
// soak has started (nil: to none).
func faults(p *network.Proxy, server Server) map[string]fault {
	toxic := func(text string) fault {
		return func() (func() error, error) { return p.Break(text) }
	}
	all := map[string]fault{
		"reset":       toxic(network.Reset),
		"stall there": toxic(network.LoseRequests),
		"stall back":  toxic(network.LoseReplies),
		"slow":        toxic(network.Slow),
		"cut": func() (func() error, error) {
			p.Stop()
			return p.Start, nil
		},
	}
	if server != nil {
		all["server killed"] = func() (func() error, error) {
			server.Kill9()
			return server.Reopen, nil
		}
	}
	return all
}

// shortestPause and longestPause bound the time between faults of a run: long enough to
// recover, and short enough that each kind occurs in a run of a minute.
const shortestPause, longestPause = 1500 * time.Millisecond, 8 * time.Second

// plan returns the faults of a run: the same for the same arguments.
func plan(seed uint64, total time.Duration, kinds map[string]fault) []nemesis.Step {
	pace := nemesis.Pace{Pause: min(max(total/60, shortestPause), longestPause), Short: 3 * time.Second, Long: 6}
	return nemesis.Plan(seed, total, pace, slices.Sorted(maps.Keys(kinds)), 1, MaxStale)
}

// inject causes the faults until all are done or ctx ends, and leaves everything repaired.
// It calls tell with the kind of each fault, and with "" at its end.
func inject(ctx context.Context, steps []nemesis.Step, kinds map[string]fault, history *nemesis.History, tell func(string)) error {
	for _, step := range steps {
		if !timing.Sleep(ctx, step.Pause) {
			return nil
		}
		tell(step.Kind)
		end := history.BeginFault(step.Kind)
		repair, err := kinds[step.Kind]()
		if err != nil {
			return fmt.Errorf("fault %q: %w", step.Kind, err)
		}
		going := timing.Sleep(ctx, step.For)
		if err := repair(); err != nil {
			return fmt.Errorf("repairing %q: %w", step.Kind, err)
		}
		end()
		tell("")
		if !going {
			return nil
		}
	}
	return nil
}
