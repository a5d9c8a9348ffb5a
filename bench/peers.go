package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/bench/peers"
)

var peersRow = row{
	name:         "peers",
	title:        "keytail beside other forward-auth services",
	measures:     "a request through a proxy that asks a service and then answers itself: requests, CPU time of proxy and service, memory, and for how long a revoked key is still accepted; 1,000 keys, one worker in each proxy",
	comparedWith: "oauth2-proxy, Ory Oathkeeper and Authorino behind the same proxy with the same client; a bare handler in Go, which is the least that a service can cost; and the proxy alone",
	goals:        "at least 0.85 times the requests per second of the bare handler (0.9 with gRPC), and at most 1.2 times its p99 latency; the other figures are reported",
	run:          measurePeers,
	server:       true,
	manual:       true,
}

// Names that goals and tests use.
const (
	sideBare     = "nginx, bare Go handler"
	sideTCP      = "nginx, keytail"
	sideBareGRPC = "Envoy, bare gRPC handler"
	sideGRPC     = "Envoy, keytail over gRPC"
)

const (
	// peerConnections is the number of connections of the client.
	peerConnections = 32
	// revocationRounds is how often each side revokes some keys.
	revocationRounds = 4
)

// peerSide is one service behind a proxy.
type peerSide struct {
	name string
	// about says what the service checks.
	about about
	// missing says why the side could not be measured. Empty: it was.
	missing string
	// upstream is what the proxy asks. Without an address: nothing.
	upstream peers.Service
	// address is that of the proxy.
	address string
	// tokens is the file with the bearer tokens of the load.
	tokens string
	// proxy, service and behind are process IDs. behind is what the service itself asks: it
	// lacks a MongoDB server that this program has not started.
	proxy, service, behind []int
	// inMongoDB reports whether the service uses MongoDB.
	inMongoDB bool
	// revocation is nil if there is nothing to revoke. Its keys are those from the number
	// first on, which no other side revokes.
	revocation *peers.Revocation
	first      int

	loads []*peers.Load
	// cost is the CPU time for a request in each round: of proxy, service, and behind.
	cost [3][]float64
	// server is the part of a core that the MongoDB server used in each round, if this
	// program has started it.
	server []float64
	// peak is the largest memory of the service, in bytes.
	peak int64
	// accepted are the times from the acknowledgement to the last acceptance.
	accepted []time.Duration
}

func measurePeers(ctx context.Context, e *env, r *result) error {
	f, err := newPeerFleet(ctx, e)
	if err != nil {
		return err
	}
	defer f.stop()
	if err := f.start(ctx, e); err != nil {
		return err
	}
	if err := f.measureLoads(ctx, e); err != nil {
		return err
	}
	if err := f.measureRevocations(ctx, e); err != nil {
		return err
	}
	return f.report(r)
}

// measureLoads measures all sides in each round. Each round starts with another side.
func (f *peerFleet) measureLoads(ctx context.Context, e *env) error {
	sides := f.present()
	for round := range e.size(5, 1) {
		for n := range sides {
			side := sides[(n+round)%len(sides)]
			if err := side.measure(ctx, f, e.size(5, 1)); err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			e.progress("round %d, %s: %.0f requests per second", round+1, side.name, side.loads[round].PerSecond())
		}
	}
	return nil
}

// measure sends load for some seconds, after one second that fills caches.
func (s *peerSide) measure(ctx context.Context, f *peerFleet, seconds int) error {
	if _, err := f.wrk.Run(ctx, s.address, s.tokens, peerConnections, 1); err != nil {
		return err
	}
	groups := [][]int{s.proxy, s.service, s.behind, f.database}
	before, err := usageOf(groups)
	if err != nil {
		return err
	}
	load, err := f.wrk.Run(ctx, s.address, s.tokens, peerConnections, seconds)
	if err != nil {
		return err
	}
	after, err := usageOf(groups)
	if err != nil {
		return err
	}
	for i := range s.cost {
		s.cost[i] = append(s.cost[i], float64(after[i].CPU-before[i].CPU)/float64(load.Requests))
	}
	s.server = append(s.server, (after[3].CPU-before[3].CPU).Seconds()/float64(seconds))
	s.loads, s.peak = append(s.loads, load), after[1].Peak
	return nil
}

// usageOf returns what each group of processes has used.
func usageOf(groups [][]int) ([]peers.Usage, error) {
	all, failures := make([]peers.Usage, len(groups)), make([]error, len(groups))
	for i, pids := range groups {
		all[i], failures[i] = peers.UsageOf(pids...)
	}
	return all, errors.Join(failures...)
}

// measureRevocations revokes some keys of each side in each round. No load follows it: its
// keys are those of the load.
func (f *peerFleet) measureRevocations(ctx context.Context, e *env) error {
	for round := range revocationRounds {
		for _, side := range f.present() {
			if side.revocation == nil {
				continue
			}
			first := side.first + round*f.revocations
			accepted, err := side.revocation.LastAcceptances(ctx, f.collection.keys[first:first+f.revocations], first)
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			side.accepted = append(side.accepted, accepted...)
		}
		e.progress("round %d: %d keys of each side are revoked", round+1, f.revocations)
	}
	return nil
}

// present returns the sides that could be started.
func (f *peerFleet) present() []*peerSide {
	var all []*peerSide
	for _, side := range f.sides {
		if side.missing == "" {
			all = append(all, side)
		}
	}
	return all
}
