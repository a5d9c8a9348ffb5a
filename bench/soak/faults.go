package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/timing"
)

// network is a TCP proxy between the daemon and the server. The load's own clients of the
// server do not use it.
type network struct {
	*toxiproxy.Proxy
	// URI is that of the server, through the proxy.
	URI string
}

// openNetwork puts a proxy before the only server of a connection string.
func openNetwork(uri string) (*network, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "mongodb" || strings.Contains(u.Host, ",") {
		return nil, errors.New("the soak cuts the connection to one server: name a replica set of one member with a URI of the form mongodb://host:port/")
	}
	if u.Port() == "" {
		u.Host += ":27017"
	}
	// Toxics log to standard error even with another logger.
	zerolog.SetGlobalLevel(zerolog.Disabled)
	p, err := listen(u.Host)
	if err != nil {
		return nil, err
	}
	u.Host = p.Listen
	query := u.Query()
	query.Del("replicaSet")
	// The server reports its own address, which would bypass the proxy.
	query.Set("directConnection", "true")
	query.Set("maxPoolSize", fmt.Sprint(pool))
	u.RawQuery = query.Encode()
	return &network{Proxy: p, URI: u.String()}, nil
}

// listen starts a proxy on a port below those of outgoing connections: while the proxy is
// cut, a client that dials such a port could connect to itself, or another could take it.
func listen(upstream string) (*toxiproxy.Proxy, error) {
	var failed error
	for range 20 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "soak", address, upstream)
		if failed = p.Start(); failed == nil {
			return p, nil
		}
	}
	return nil, failed
}

// fault breaks something, and returns the function that repairs it.
type fault func() (repair func() error, err error)

// faults are what can happen between the daemon and the server, and to a server that the
// soak has started (nil: to none).
func (n *network) faults(server Server) map[string]fault {
	all := map[string]fault{
		"reset":       n.toxic(`{"type":"reset_peer","stream":"downstream","attributes":{"timeout":50}}`),
		"stall there": n.toxic(`{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`),
		"stall back":  n.toxic(`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`),
		"slow":        n.toxic(`{"type":"latency","stream":"downstream","attributes":{"latency":300,"jitter":250}}`),
		"cut": func() (func() error, error) {
			n.Stop()
			return n.Start, nil
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

func (n *network) toxic(text string) fault {
	return func() (func() error, error) {
		added, err := n.Toxics.AddToxicJson(strings.NewReader(text))
		if err != nil {
			return nil, err
		}
		return func() error { return n.Toxics.RemoveToxic(context.Background(), added.Name) }, nil
	}
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
