package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/bench/peers"
)

// about describes what a service does for a request. Services do not do the same work.
type about struct{ name, checks, keys, revoked string }

var (
	aboutKeytail = about{
		"keytail", "SHA-256 of the key; its record: active, expiry, scope, organisation, allowed addresses",
		"MongoDB; a copy in memory, kept by the change stream", "`is_active: false` in MongoDB, by a majority write",
	}
	aboutOAuth2Proxy = about{
		"oauth2-proxy", "signature (RS256), issuer, audience and expiry of a JWT; no lookup", "none: the token says everything",
		"none for a bearer token: it is accepted until it expires",
	}
	aboutOathkeeper = about{
		"Oathkeeper", "introspection (RFC 7662) over HTTP: active, expiry, scope. The stub behind it finds the key in MongoDB by SHA-256", "MongoDB",
		aboutKeytail.revoked,
	}
	aboutOathkeeperCache = about{
		"Oathkeeper with its cache", "the same once in 5 s for each key, from its cache in between", "MongoDB; a cache with a time to live", aboutKeytail.revoked,
	}
	aboutAuthorino = about{
		"Authorino", "compares the key with that of each Secret in turn; no expiry, no scope", "Kubernetes Secrets; a copy in memory, kept by a watch",
		"the Secret is deleted in a stub of the Kubernetes API, without etcd",
	}
	aboutRESTHeart = about{
		"RESTHeart's mongoApiKeyAuthenticator", "SHA-256 of the key, its document: expiry, roles", "MongoDB; a cache with a time to live of 60 s (default)", "a write in MongoDB",
	}
)

// noRESTHeart says why RESTHeart is not measured.
const noRESTHeart = "not available here: the newest release on Maven Central, 9.5.2 of July 2026, is older than the plugin, and its security and MongoDB plugins are no artifacts there"

// report turns the measurements into tables.
func (f *peerFleet) report(r *result) error {
	for _, pair := range []struct {
		ours, bare string
		rate       float64
	}{{sideTCP, sideBare, 0.85}, {sideGRPC, sideBareGRPC, 0.9}} {
		ours, bare := f.side(pair.ours), f.side(pair.bare)
		r.goal(ratiosOf(rates(ours), rates(bare)).goal(pair.ours+": requests per second, relative to a bare handler", ">=", pair.rate))
		r.goal(ratiosOf(tails(ours), tails(bare)).goal(pair.ours+": p99 latency, relative to a bare handler", "<=", 1.2))
	}
	r.table(f.figures())
	r.table(f.facts())
	for _, note := range peerNotes {
		r.note(note)
	}
	if len(f.database) > 0 {
		r.note(fmt.Sprintf("The MongoDB server needed %.2f of a core while the bare handler was measured, and %.2f while nginx asked keytail: for the heartbeats, the change streams and the last uses of three daemons. All rows share the cores with it.",
			median(f.side(sideBare).server), median(f.side(sideTCP).server)))
	}
	r.note("Versions: " + strings.Join(f.versions, ", ") + ".")
	return nil
}

// peerNotes explain the figures.
var peerNotes = []string{
	"**How to read it.** Compare the rows of one proxy with each other, not those of nginx with those of Envoy. " +
		"A ratio is the median of the rounds, with the smallest and the largest in brackets. " +
		"The client, the proxy, the service and MongoDB share the cores, so a service that needs less CPU time leaves more to the others: the CPU time per request says more about a larger machine than the requests per second do. " +
		"*Behind it* is what the service itself asks: the introspection stub, and the MongoDB server if this program has started it. Of the server it is all that it used meanwhile, also for the heartbeats and the last uses of the other daemons: keytail reads nothing there for a cached key. " +
		"Memory is the largest resident set of the service. The bare handlers are part of this program, so their memory is not that of a small server. Oathkeeper's is mostly its cache, which is made for 100,000,000 entries by default, and which it has even when it does not use it.",
	"**The last acceptance** is the time from the acknowledgement of a revocation to the last answer that let the key pass: 40 keys for each service, one after the other, each with one client that asks without a pause; 0: none came after the acknowledgement. " +
		"With a cache of 5 s the keys are revoked at random ages of their entries, ten at a time, and the clients pause 20 ms. Without a `ttl` Oathkeeper keeps an API key's entry until it is evicted, because the key has no expiry.",
	"**What it does not say.** The services do not do the same work: see the second table. oauth2-proxy is made to sign people in; a session in a store could be ended, a bearer token could not. Oathkeeper can check whatever answers an introspection, and without a cache most of the time is the stub's and MongoDB's. " +
		"Authorino evaluates a policy language, of which this uses one rule; it compares a key with each of the 1,000 in turn, so its time grows with their number. Its Kubernetes API is a stub in this program, which acknowledges a write sooner than a cluster. " +
		"RESTHeart's authenticator keeps a key in its cache for 60 s by default; its source says that a revocation takes effect within that time. " +
		"Request logs are off everywhere. The configurations and the sources of their settings are in [bench/peers](../bench/peers/README.md).",
}

// figures is the table of what was measured.
func (f *peerFleet) figures() table {
	t := table{
		Title: fmt.Sprintf("%d connections; medians of the rounds", peerConnections),
		Head: []string{
			"", "requests per second", "relative to the proxy's bare handler", "p50", "p99", "CPU per request: proxy", "service", "behind it", "memory of the service", "last acceptance: p50", "worst",
		},
	}
	for _, side := range f.inOrder() {
		cells := []string{side.name}
		if side.missing != "" {
			cells = append(cells, side.missing)
		} else {
			cells = append(cells, f.cells(side)...)
		}
		for len(cells) < len(t.Head) {
			cells = append(cells, "")
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// cells formats the figures of a side.
func (f *peerFleet) cells(s *peerSide) []string {
	bare := sideBare
	if slices.Contains(f.envoy, s) {
		bare = sideBareGRPC
	}
	cells := []string{fmt.Sprintf("%.0f", median(rates(s))), ratiosOf(rates(s), rates(f.side(bare))).span()}
	for _, figure := range []func(*peers.Load) int64{func(l *peers.Load) int64 { return l.P50 }, func(l *peers.Load) int64 { return l.P99 }} {
		var all []float64
		for _, load := range s.loads {
			all = append(all, float64(figure(load)))
		}
		cells = append(cells, fmt.Sprintf("%.2f ms", median(all)/1000))
	}
	for i, pids := range [][]int{s.proxy, s.service, s.behind} {
		cells = append(cells, cost(pids, s.cost[i]))
	}
	if s.inMongoDB && len(f.database) == 0 {
		cells[len(cells)-1] += ", and MongoDB, not measured"
	}
	if len(s.service) == 0 {
		return append(cells, "none", "", "")
	}
	cells = append(cells, fmt.Sprintf("%.0f MiB", float64(s.peak)/(1<<20)))
	if len(s.accepted) == 0 {
		return append(cells, "", "")
	}
	sorted := slices.Sorted(slices.Values(s.accepted))
	return append(cells, inMilliseconds(sorted[len(sorted)/2]), inMilliseconds(sorted[len(sorted)-1]))
}

// cost formats the CPU time of processes for a request.
func cost(pids []int, rounds []float64) string {
	if len(pids) == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f µs", median(rounds)/1000)
}

func inMilliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", milliseconds(d)) }

// facts is the table of what each service checks.
func (f *peerFleet) facts() table {
	t := table{Title: "What is compared", Head: []string{"", "checked for each request", "where the keys are", "a revocation is"}}
	var seen []about
	for _, side := range f.inOrder() {
		if a := side.about; a.name != "" && !slices.Contains(seen, a) {
			seen = append(seen, a)
			t.Rows = append(t.Rows, []string{a.name, a.checks, a.keys, a.revoked})
		}
	}
	return t
}

// inOrder returns the sides of nginx, those of Envoy, and those that are missing.
func (f *peerFleet) inOrder() []*peerSide {
	all := slices.Concat(f.nginx, f.envoy)
	for _, side := range f.sides {
		if side.missing != "" {
			all = append(all, side)
		}
	}
	return all
}

// side returns the side with this name.
func (f *peerFleet) side(name string) *peerSide {
	return f.sides[slices.IndexFunc(f.sides, func(s *peerSide) bool { return s.name == name })]
}

// rates returns the requests per second of each round.
func rates(s *peerSide) []float64 {
	var all []float64
	for _, load := range s.loads {
		all = append(all, load.PerSecond())
	}
	return all
}

// tails returns the p99 latency of each round.
func tails(s *peerSide) []float64 {
	var all []float64
	for _, load := range s.loads {
		all = append(all, float64(load.P99))
	}
	return all
}
