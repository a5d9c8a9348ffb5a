package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/bench/delays"
	"github.com/keytail/keytail/bench/network"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// externalServer is the name of a replica set that --uri names.
const externalServer = "uri"

// daemonName is the application name of the daemon's client: failpoints can be limited to it.
const daemonName = "keytail-delays"

// secantusOplog is the number of changes in the oplog of SecantusDB: more than a run makes
// within a fault, and few enough to be replaced in a moment.
const secantusOplog = 2000

// identifyTimeout is time for the first election of a new set.
const identifyTimeout = 30 * time.Second

// delaysServer is a server to measure with.
type delaysServer struct {
	// id names the files of the result, title is for people.
	id, title string
	// uri is for the writers, daemonURI for the daemon: through the proxy, if there is one.
	uri, daemonURI string
	// proxy is nil before a set of several members.
	proxy *network.Proxy
	// succeeded: when the primary is gone, another member succeeds it.
	succeeded bool
	// admin is the database admin.
	admin *mongo.Database
	// daemon is set once it has started.
	daemon *delays.Daemon
	// node and process are set for the server of that kind.
	node    *devmongo.Server
	process *mongotest.Secantus
	stops   []func()
}

func (s *delaysServer) close() {
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i]()
	}
}

// startDelaysServer starts the server with this name, or uses that of --uri.
func startDelaysServer(ctx context.Context, e *env, name string) (*delaysServer, error) {
	s := &delaysServer{}
	err := s.start(ctx, e, name)
	if err == nil {
		err = s.open(ctx, e)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *delaysServer) start(ctx context.Context, e *env, name string) (err error) {
	switch name {
	case externalServer:
		s.uri = e.URI
	case mongotest.NameDevmongo:
		if s.node, err = devmongo.New(devmongo.Config{}); err != nil {
			return err
		}
		s.uri = s.node.URI()
		running, stop := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan error, 1)
		go func() { done <- s.node.Run(running) }()
		s.stops = append(s.stops, func() {
			stop()
			if err := <-done; err != nil {
				e.progress("devmongo: %v", err)
			}
		})
	default:
		s.process, err = mongotest.OpenSecantus(e.dir, mongotest.SecantusConfig{Args: []string{"--oplog-max-entries", fmt.Sprint(secantusOplog)}})
		if err != nil {
			return fmt.Errorf("%w; or measure without it: --server devmongo", err)
		}
		s.uri = s.process.URI
		s.stops = append(s.stops, s.process.Kill9)
	}
	return nil
}

// open finds out what the server is, and starts the proxy.
func (s *delaysServer) open(ctx context.Context, e *env) error {
	own := *e
	own.options = &options{URI: s.uri}
	client, err := own.connect(writerOptions)
	if err != nil {
		return err
	}
	s.stops = append(s.stops, func() { disconnect(client) })
	s.admin = client.Database("admin")
	limited, cancel := context.WithTimeout(ctx, identifyTimeout)
	defer cancel()
	if err := keepTrying(limited, s.identify); err != nil {
		return fmt.Errorf("the server cannot be asked what it is: %w", err)
	}
	s.proxy, err = network.Open(s.uri, map[string]string{"appName": daemonName})
	if errors.Is(err, network.ErrSeveral) {
		s.daemonURI, err = withAppName(s.uri)
		return err
	}
	if err != nil {
		return err
	}
	s.daemonURI = s.proxy.URI
	s.stops = append(s.stops, s.proxy.Stop)
	return nil
}

// withAppName adds the daemon's application name to a connection string. It is no URL if it
// names several hosts.
func withAppName(uri string) (string, error) {
	base, query, _ := strings.Cut(uri, "?")
	options, err := url.ParseQuery(query)
	if err != nil {
		return "", err
	}
	if strings.Count(base, "/") < 3 {
		base += "/" // it is required before options
	}
	options.Set("appName", daemonName)
	return base + "?" + options.Encode(), nil
}

// identify asks the server for its version and the number of its members.
func (s *delaysServer) identify(ctx context.Context) error {
	var info struct {
		Version         string `bson:"version"`
		GitVersion      string `bson:"gitVersion"`
		SecantusVersion string `bson:"secantusVersion"`
	}
	if err := s.admin.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info); err != nil {
		return err
	}
	switch {
	case info.GitVersion == mongotest.NameDevmongo:
		s.id, s.title = devmongoPlace.id(), devmongoPlace.title()
	case info.SecantusVersion != "":
		p := place{product: productSecantus, version: info.SecantusVersion}
		s.id, s.title = p.id(), p.title()
	default:
		hosts, err := s.members(ctx)
		if err != nil {
			return err
		}
		parts := strings.SplitN(info.Version, ".", 3)
		s.succeeded = len(hosts.all) > 2
		p := place{productMongoDB, strings.Join(parts[:min(2, len(parts))], "."), len(hosts.all)}
		s.id, s.title = p.id(), p.title()
	}
	return nil
}

// members are the addresses of the members of a set that have data.
type members struct {
	all     []string
	primary string
}

// members asks the primary. isMaster works with every version.
func (s *delaysServer) members(ctx context.Context) (members, error) {
	var hello struct {
		Hosts   []string `bson:"hosts"`
		Primary string   `bson:"primary"`
	}
	err := s.admin.RunCommand(ctx, bson.D{{Key: "isMaster", Value: 1}}).Decode(&hello)
	return members{hello.Hosts, hello.Primary}, err
}

// direct connects to one member.
func (s *delaysServer) direct(host string) (*mongo.Client, error) {
	o := mongooptions.Client().ApplyURI(s.uri)
	writerOptions(o)
	o.ReplicaSet = nil // a direct connection names no set
	return mongo.Connect(o.SetHosts([]string{host}).SetDirect(true))
}
