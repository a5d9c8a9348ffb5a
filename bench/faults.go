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
	name:    "faults",
	what:    "revocation delay while keytail's connections are reset every 5 s, and the server is killed (-9) and started again every 20 s",
	against: "the promise",
	reach:   "worst <= max_stale (15 s)",
	run:     measureFaults,
	server:  true,
}

const (
	resetEvery = 5 * time.Second
	// killEvery counts resets: the fourth is a kill.
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
	breaking, stop := context.WithCancel(ctx)
	go func() { done <- network.breaks(breaking, e) }()
	delays, err := revokeDuring(ctx, e, c, i, n)
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return err
	}
	slices.Sort(delays)
	r.goal(goal{Name: "worst, in seconds", Got: delays[len(delays)-1] / 1000, Sign: "<=", Want: keycache.DefaultMaxStale.Seconds(), Rounds: 1})
	r.table(table{Title: fmt.Sprintf("Milliseconds from the acknowledgement to the first refusal, of %d revocations; %d resets, %d kills", len(delays), network.resets, network.kills), Head: []string{"", "p50", "p90", "p99", "worst"}, Rows: [][]string{delayCells("keytail", delays)}})
	r.plot(picture{Name: "faults", Title: "Revocation delay during faults", X: "milliseconds", Y: "share refused", LogX: true, Series: []series{distribution("keytail", delays)}})
	r.note("An answer of 503 is a refusal here: whoever asks gets no yes. The writes are another client's, which has no proxy before it, and begins a write anew when the server is away.")
	return nil
}

// network is a proxy between keytail and the server.
type network struct {
	*toxiproxy.Proxy
	client        *mongo.Client
	resets, kills int
}

// by is the way to all servers: the set says that its member is elsewhere, where
// there is no proxy.
type by string

func (b by) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, string(b))
}

func openNetwork(e *env) (*network, error) {
	uri, err := e.mongoURI()
	if err != nil {
		return nil, err
	}
	if e.server == nil {
		return nil, errors.New("this row kills the server, so it takes none by --uri")
	}
	upstream := strings.Trim(strings.TrimPrefix(uri, "mongodb://"), "/")
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "bench", "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return nil, err
	}
	client, err := e.connect(func(o *mongooptions.ClientOptions) {
		o.SetDialer(by(p.Listen)).SetConnectTimeout(5 * time.Second).SetHeartbeatInterval(2 * time.Second)
	})
	if err != nil {
		p.Stop()
		return nil, err
	}
	return &network{Proxy: p, client: client}, nil
}

// close is for when keytail has stopped.
func (n *network) close() {
	disconnect(n.client)
	n.Stop()
}

// breaks resets all connections, and kills the server, until ctx ends.
func (n *network) breaks(ctx context.Context, e *env) error {
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
			e.say("kill -9")
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

// reset makes the proxy answer with RST for a tenth of a second.
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

// revokeDuring revokes each key once, about twenty a second, and waits for all of them.
func revokeDuring(ctx context.Context, e *env, c *collection, i *instance, n int) ([]float64, error) {
	var mutex sync.Mutex
	var delays []float64
	var failure error
	var group sync.WaitGroup
	need := auth.Request{OrgID: "acme"}
	for k := range n {
		if err := c.revokeUntilAcknowledged(ctx, k); err != nil {
			return nil, err
		}
		acknowledged := time.Now()
		group.Go(func() {
			at := firstRefusal(ctx, i, c.texts[k], need, time.Millisecond).answered
			mutex.Lock()
			defer mutex.Unlock()
			if at.IsZero() {
				failure = errors.New("a revoked key is still valid after a minute")
				return
			}
			delays = append(delays, milliseconds(at.Sub(acknowledged)))
		})
		if k%500 == 0 {
			e.say("%d of %d revoked", k, n)
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
		_, err = c.UpdateByID(once, typical(k).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}
