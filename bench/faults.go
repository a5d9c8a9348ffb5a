package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/keycache"
)

var faultsRow = row{
	name:         "faults",
	title:        "how soon a revoked key is refused while connections and the server fail",
	measures:     "revocation delay while keytail's connections are reset every 5 s, and the server is killed (kill -9) and restarted every 20 s",
	comparedWith: "the guarantee: no revoked key is accepted for longer than max_stale",
	goals:        "the longest delay is at most max_stale (15 s)",
	run:          measureFaults,
	server:       true,
}

// longestDelay is the name of a goal.
const longestDelay = "longest delay, in seconds"

const (
	resetEvery = 5 * time.Second
	// killEvery is how often a kill takes the place of a reset: every fourth time.
	killEvery = 4
)

func measureFaults(ctx context.Context, e *env, r *result) error {
	n := e.size(2000, 5)
	c, err := e.newCollection(ctx, n)
	if err != nil {
		return err
	}
	defer c.drop()
	network, err := openNetwork(e)
	if err != nil {
		return err
	}
	defer network.close()
	i, err := e.start(ctx, c, func(k *daemon.Config) { k.Client = network.client })
	if err != nil {
		return err
	}
	defer i.stop()
	done := make(chan error, 1)
	faultsCtx, stop := context.WithCancel(ctx)
	go func() { done <- network.injectFaults(faultsCtx, e) }()
	delays, err := revokeDuring(ctx, e, c, i, n)
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return err
	}
	slices.Sort(delays)
	r.goal(goal{Name: longestDelay, Got: delays[len(delays)-1] / 1000, Sign: "<=", Want: keycache.DefaultMaxStale.Seconds(), Rounds: 1})
	r.table(table{Title: fmt.Sprintf("Milliseconds from the acknowledgement to the first refusal, for %d revocations; %d resets, %d kills", len(delays), network.resets, network.kills), Head: []string{"", "p50", "p90", "p99", "worst"}, Rows: [][]string{delayCells("keytail", delays)}})
	r.plot(chart{Name: "faults", Title: "Revocation delay during faults", X: "milliseconds", Y: "share of keys refused", LogX: true, Series: []series{distribution("keytail", delays)}})
	r.note("A 503 counts as a refusal, because it does not accept the key. Another client makes the writes: it connects to the server directly, and repeats a write while the server is unreachable.")
	return nil
}

// network is a TCP proxy between keytail and the server.
type network struct {
	*toxiproxy.Proxy
	client        *mongo.Client
	resets, kills int
}

// fixedDialer dials one address, for every address that the driver requests: the replica set
// reports the address of its member, which would bypass the proxy.
type fixedDialer string

func (d fixedDialer) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, string(d))
}

func openNetwork(e *env) (*network, error) {
	uri, err := e.mongoURI()
	if err != nil {
		return nil, err
	}
	if e.server == nil {
		return nil, errors.New("this row kills the server and cannot use a replica set: omit --uri")
	}
	upstream := strings.Trim(strings.TrimPrefix(uri, "mongodb://"), "/")
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "bench", "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return nil, err
	}
	client, err := e.connect(func(o *mongooptions.ClientOptions) {
		o.SetDialer(fixedDialer(p.Listen)).SetConnectTimeout(5 * time.Second).SetHeartbeatInterval(2 * time.Second)
	})
	if err != nil {
		p.Stop()
		return nil, err
	}
	return &network{Proxy: p, client: client}, nil
}

// close stops the proxy. Call it after keytail has stopped.
func (n *network) close() {
	disconnect(n.client)
	n.Stop()
}

// injectFaults resets all connections, and kills the server, until ctx ends.
func (n *network) injectFaults(ctx context.Context, e *env) error {
	ticker := time.NewTicker(resetEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if n.resets++; n.resets%killEvery == 0 {
			n.kills++
			e.progress("kill -9")
			if err := e.server.Reopen(); err != nil {
				return err
			}
			continue
		}
		if err := n.reset(ctx); err != nil {
			return err
		}
	}
}

// reset makes the proxy reset all connections for 100 ms.
func (n *network) reset(ctx context.Context) error {
	toxic, err := n.Toxics.AddToxicJson(strings.NewReader(`{"name": "reset", "type": "reset_peer", "attributes": {"timeout": 0}}`))
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
	return n.Toxics.RemoveToxic(context.WithoutCancel(ctx), toxic.Name)
}

// revokeDuring revokes each key once, about twenty keys per second, and waits until all
// of them are refused.
func revokeDuring(ctx context.Context, e *env, c *collection, i *instance, n int) ([]float64, error) {
	var mutex sync.Mutex
	var delays []float64
	var failure error
	var group sync.WaitGroup
	request := auth.Request{OrgID: "acme"}
	for k := range n {
		if err := c.revokeUntilAcknowledged(ctx, k); err != nil {
			return nil, err
		}
		acknowledged := time.Now()
		group.Go(func() {
			at := firstRefusal(ctx, i, c.keys[k], request, time.Millisecond).received
			mutex.Lock()
			defer mutex.Unlock()
			if at.IsZero() {
				failure = errors.New("a revoked key is still valid after one minute")
				return
			}
			delays = append(delays, milliseconds(at.Sub(acknowledged)))
		})
		if k%500 == 0 {
			e.progress("%d of %d revoked", k, n)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	group.Wait()
	return delays, failure
}

func (c *collection) revokeUntilAcknowledged(ctx context.Context, k int) error {
	var err error
	for range 100 {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err = c.UpdateByID(once, sampleRecord(k).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}
