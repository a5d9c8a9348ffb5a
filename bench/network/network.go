// Package network puts a TCP proxy between a daemon and its MongoDB server, and breaks the
// connection there. Clients that use the server's own address notice nothing.
package network

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Proxy is a TCP proxy in front of one server. Stop ends it.
type Proxy struct {
	*toxiproxy.Proxy
	// URI is that of the server, through the proxy.
	URI string
}

// ErrSeveral is returned for a connection string of more than one server: a proxy stands
// before one of them, and the driver would go around it.
var ErrSeveral = errors.New("the proxy stands before one server: name a replica set of one member with a URI of the form mongodb://host:port/")

// Open starts a proxy before the only server of a connection string. The options are added
// to the query of the proxy's URI.
func Open(uri string, options map[string]string) (*Proxy, error) {
	if !hasOneHost(uri) {
		return nil, ErrSeveral
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
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
	for name, value := range options {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return &Proxy{Proxy: p, URI: u.String()}, nil
}

// hasOneHost reports whether a connection string names one host. url.Parse rejects most lists of hosts.
func hasOneHost(uri string) bool {
	rest, ok := strings.CutPrefix(uri, "mongodb://")
	authority, _, _ := strings.Cut(rest, "?")
	authority, _, _ = strings.Cut(authority, "/")
	hosts := authority[strings.LastIndex(authority, "@")+1:]
	return ok && !strings.Contains(hosts, ",")
}

// listen starts a proxy on a port below those of outgoing connections: while the proxy is
// cut, a client that dials such a port could connect to itself, or another could take it.
func listen(upstream string) (*toxiproxy.Proxy, error) {
	var failed error
	for range 20 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "bench", address, upstream)
		if failed = p.Start(); failed == nil {
			return p, nil
		}
	}
	return nil, failed
}

// Toxics that the proxy can add.
const (
	// Reset resets each connection.
	Reset = `{"type":"reset_peer","stream":"downstream","attributes":{"timeout":50}}`
	// LoseRequests and LoseReplies lose the bytes of one direction: connections stay open,
	// and nothing arrives.
	LoseRequests = `{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`
	LoseReplies  = `{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`
	// Slow delays each packet by 50 to 550 ms.
	Slow = `{"type":"latency","stream":"downstream","attributes":{"latency":300,"jitter":250}}`
)

// Break adds toxics, and returns the function that removes them.
func (p *Proxy) Break(toxics ...string) (repair func() error, err error) {
	var names []string
	repair = func() error {
		var failures []error
		for _, name := range names {
			failures = append(failures, p.Toxics.RemoveToxic(context.Background(), name))
		}
		return errors.Join(failures...)
	}
	for _, text := range toxics {
		added, err := p.Toxics.AddToxicJson(strings.NewReader(text))
		if err != nil {
			return nil, errors.Join(err, repair())
		}
		names = append(names, added.Name)
	}
	return repair, nil
}
