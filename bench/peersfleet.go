package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/bench/peers"
	"github.com/keytail/keytail/internal/testprogram"
)

// peerFleet is everything that the row peers measures.
type peerFleet struct {
	peers.Starter
	collection *collection
	sides      []*peerSide
	wrk        peers.Wrk
	versions   []string
	// programs is the directory with the built programs.
	programs string
	// nginx and envoy are the sides behind each proxy.
	nginx, envoy []*peerSide
	// keys is the file with the keys as bearer tokens.
	keys string
	// database is the process ID of the MongoDB server, if this program has started it.
	database []int
	// revocations is the number of keys that each side revokes in each round.
	revocations int
	// stops are the functions that end what Starter does not know.
	stops []func()
}

// oathkeeperTTL is the example of Oathkeeper's configuration schema. Without a ttl an entry
// lives until the token's own expiry, and an API key has none.
const oathkeeperTTL = 5 * time.Second

// newPeerFleet creates the keys and finds the client.
func newPeerFleet(ctx context.Context, e *env) (*peerFleet, error) {
	f := &peerFleet{Starter: peers.Starter{Dir: e.dir}, programs: e.Peers, revocations: e.size(10, 1)}
	var err error
	if f.wrk.Program, err = testprogram.Find(testprogram.Program{Name: "wrk", Places: []string{"wrk"}, Install: "apt-get install wrk"}); err != nil {
		return nil, err
	}
	if f.wrk.Script, err = peers.LoadScript(e.dir); err != nil {
		return nil, err
	}
	if f.programs == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("%w; or name a directory with --peers", err)
		}
		f.programs = filepath.Join(cache, "keytail-bench")
	}
	if f.collection, err = e.newCollection(ctx, e.size(1000, 50)); err != nil {
		return nil, err
	}
	f.stops = append(f.stops, f.collection.drop)
	if e.server != nil {
		f.database = []int{e.server.Pid()}
	}
	f.keys, err = f.writeTokens("keys", f.collection.keys)
	if err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

// stop ends all programs, and then what they used.
func (f *peerFleet) stop() {
	f.Stop()
	for i := len(f.stops) - 1; i >= 0; i-- {
		f.stops[i]()
	}
}

func (f *peerFleet) writeTokens(name string, tokens []string) (string, error) {
	file := filepath.Join(f.Dir, name)
	return file, os.WriteFile(file, []byte(strings.Join(tokens, "\n")+"\n"), 0o600)
}

// start starts all services and then the proxies.
func (f *peerFleet) start(ctx context.Context, e *env) error {
	for _, begin := range []func(context.Context, *env) error{f.startBare, f.startKeytail, f.startOAuth2Proxy, f.startOathkeeper, f.startAuthorino} {
		if err := begin(ctx, e); err != nil {
			return err
		}
	}
	f.skip("nginx, RESTHeart's mongoApiKeyAuthenticator", aboutRESTHeart, noRESTHeart)
	return f.startProxies(ctx)
}

// viaNginx adds a side behind nginx.
func (f *peerFleet) viaNginx(side peerSide, upstream peers.Service) *peerSide {
	return f.add(&f.nginx, side, upstream)
}

// viaEnvoy adds a side behind Envoy.
func (f *peerFleet) viaEnvoy(side peerSide, upstream peers.Service) *peerSide {
	return f.add(&f.envoy, side, upstream)
}

func (f *peerFleet) add(proxy *[]*peerSide, side peerSide, upstream peers.Service) *peerSide {
	side.upstream = upstream
	if side.tokens == "" {
		side.tokens = f.keys
	}
	*proxy, f.sides = append(*proxy, &side), append(f.sides, &side)
	return &side
}

// skip adds a side that cannot be measured, with the reason.
func (f *peerFleet) skip(name string, a about, reason string) {
	f.sides = append(f.sides, &peerSide{name: name, about: a, missing: reason})
}

// revokeInMongoDB makes the side revoke keys as their owner does: by a majority write to
// the collection.
func (f *peerFleet) revokeInMongoDB(side *peerSide, ttl time.Duration) {
	f.revoke(side, ttl, func(ctx context.Context, i int) error {
		got, err := f.collection.UpdateByID(ctx, sampleRecord(i).KeyID, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
		if err == nil && got.ModifiedCount != 1 {
			err = errors.New("the revoked key has no document")
		}
		return err
	})
}

// revoke gives the side keys that no other side revokes.
func (f *peerFleet) revoke(side *peerSide, ttl time.Duration, write func(ctx context.Context, i int) error) {
	for _, other := range f.sides {
		if other.revocation != nil {
			side.first += revocationRounds * f.revocations
		}
	}
	side.revocation = &peers.Revocation{Revoke: write, TTL: ttl, Limit: time.Minute}
}

// startBare adds the proxies alone, and the handlers that do nothing.
func (f *peerFleet) startBare(ctx context.Context, _ *env) error {
	f.viaNginx(peerSide{name: "nginx, " + noCheck}, peers.Service{})
	f.viaEnvoy(peerSide{name: "Envoy, " + noCheck}, peers.Service{})
	http, err := f.serve(ctx, "bare")
	if err != nil {
		return err
	}
	f.viaNginx(peerSide{name: sideBare, service: []int{http.Pid()}}, peers.Service{Address: http.Address, Path: "/"})
	grpc, err := f.serve(ctx, "bare-grpc")
	if err != nil {
		return err
	}
	f.viaEnvoy(peerSide{name: sideBareGRPC, service: []int{grpc.Pid()}}, peers.Service{Address: grpc.Address})
	return nil
}

// serve runs this program's serve command in a process of its own.
func (f *peerFleet) serve(ctx context.Context, handler string, options ...string) (*peers.Program, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(ctx, 1)
	if err != nil {
		return nil, err
	}
	return f.Start(ctx, handler, ports[0], program, append([]string{"serve", handler, "--addr=" + ports[0]}, options...)...)
}

// keytailPath is the check with the scope and the organisation of the sample keys.
const keytailPath = "/v1/auth?scope=orders:read&org_id=acme"

// startKeytail starts one daemon for each side, so that each has its own memory.
func (f *peerFleet) startKeytail(ctx context.Context, e *env) error {
	binary, err := child.Build(ctx, repository, e.dir)
	if err != nil {
		return err
	}
	socket := filepath.Join(e.dir, "public.sock")
	for _, side := range []struct {
		name string
		args []string
	}{{name: sideTCP}, {"nginx, keytail on a Unix socket", []string{"--addr=unix:" + socket}}, {name: sideGRPC}} {
		dir := filepath.Join(e.dir, fmt.Sprint("keytail", len(f.sides)))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		uri, err := e.mongoURI()
		if err != nil {
			return err
		}
		d, err := child.Start(ctx, child.Config{Binary: binary, Dir: dir, URI: uri, Database: f.collection.Database().Name(), Args: side.args})
		if err != nil {
			return err
		}
		f.stops = append(f.stops, d.Kill)
		s := peerSide{name: side.name, about: aboutKeytail, service: []int{d.Pid()}, behind: f.database, inMongoDB: true}
		switch {
		case side.name == sideTCP:
			f.revokeInMongoDB(f.viaNginx(s, peers.Service{Address: d.Public, Path: keytailPath}), 0)
		case len(side.args) > 0:
			f.revokeInMongoDB(f.viaNginx(s, peers.Service{Address: "unix:" + socket, Path: keytailPath}), 0)
		default:
			f.revokeInMongoDB(f.viaEnvoy(s, peers.Service{Address: d.GRPC, Context: `scope: "orders:read", org_id: acme`}), 0)
		}
	}
	return nil
}
