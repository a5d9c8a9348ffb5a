package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

var profileRow = row{
	name:         "profile",
	title:        "where the CPU time of a request goes",
	measures:     "where the CPU time of a cache hit goes: CPU profiles of validator.Validate on one goroutine, and of GET /v1/auth over keep-alive connections",
	comparedWith: "nothing. Each sample of the profiler counts for the innermost stage on its stack, including the runtime functions that the stage calls. The last column is the part spent on memory allocation",
	goals:        "none; the figures are reported",
	run:          measureProfile,
}

// stage is a part of the work on a request, defined by its functions.
type stage struct {
	name string
	// functions are prefixes of function names. They may omit the import path before the
	// last element of the package.
	functions []string
	// inclusive reports whether everything that these functions call counts for this
	// stage.
	inclusive bool
}

// garbageCollection is the background work of the garbage collector.
var garbageCollection = stage{name: "garbage collection, in the background", functions: []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart"}, inclusive: true}

// hitStages are the stages of Validate. A function that matches two stages belongs to
// the first.
var hitStages = []stage{
	{name: "parse the key: prefix, length, alphabet, checksum", functions: []string{"apikey.Hasher.Parse", "apikey.check", "apikey.isPrintableASCII", "apikey.hasOwnFormat", "apikey.isChecksumValid", "hash/crc32."}},
	{name: "SHA-256 of the key", functions: []string{"sha256.", "apikey.HashOf"}},
	{name: "the front: lookup of the decoded record", functions: []string{"keycache.(*front)", "keycache.frontTag"}},
	{name: "bigcache: lock of the shard, lookup, copy of the value", functions: []string{"bigcache.", "keycache.(*byteStore)", "keycache.storeKey", "keycache.identity"}},
	{name: "staleness: the clock, and the comparison with max_stale", functions: []string{"keycache.(*Cache).AnswerAsOf", "keycache.(*Cache).answer", "time."}},
	{name: "check that the entry is valid: hash, epoch, stamps, generation", functions: []string{"keycache.(*Cache)", "keycache.(*generation)", "keycache.(*completeness)", "keycache.(*endedSet)", "keycache.(*entry)", "keycache.(*slots)", "keycache.table", "keycache.isOdd"}},
	{name: "decode the record", functions: []string{"keycache.decodeFound", "keycache.(*decoder)"}},
	{name: "decide: expiry, organisation and project, scopes", functions: []string{"apikey.Decide", "apikey.isBindingMet", "apikey.isAddressAllowed", "apikey.holdsAll", "apikey.Holds", "validator.(*Validator).decide"}},
	{name: "metrics", functions: []string{"validator.(*metrics)", "instrument.(*Striped)", "prometheus."}},
	{name: "the rest of the validator", functions: []string{"validator.(*Validator)"}},
	garbageCollection,
}

// authStages are the stages of a forward-auth request.
var authStages = []stage{
	{name: "the load generator, in the same process: its writes, reads and clock", functions: []string{"(*generator)"}, inclusive: true},
	{name: "system calls: reads and writes of the socket", functions: []string{"syscall.", "poll.(*FD)"}},
	{name: "net/http: read the request", functions: []string{"http.(*conn).readRequest", "http.readRequest", "textproto."}},
	{name: "net/http: write the response: copy, sort and encode the headers", functions: []string{"http.(*response)", "http.(*chunkWriter)", "http.Header", "bufio.(*Writer)"}},
	{name: "net/http: everything else", functions: []string{"http."}},
	{name: "Gin: context and route", functions: []string{"gin."}},
	{name: "read the forward-auth request: query, key, address of the client", functions: []string{"forwardauth.(*Authority).By", "forwardauth.(*questionCache)", "forwardauth.parseQuery", "forwardauth.parseRequirements", "forwardauth.FindKey", "forwardauth.allKeys", "forwardauth.KeySource", "forwardauth.BearerToken", "forwardauth.ClientIP", "forwardauth.peerAddress"}, inclusive: true},
	{name: "the cache hit: validator.Validate", functions: []string{"validator.(*Validator).Validate"}, inclusive: true},
	{name: "the headers of the response: their values, and net/http's map", functions: []string{"forwardauth.(*values)", "forwardauth.(*Authority).setIdentity", "forwardauth.SetUnavailable", "forwardauth.stalenessText", "forwardauth.joinScopes", "forwardauth.escape", "routes.newEngine.commonHeaders", "forwardauth.RequestID"}, inclusive: true},
	{name: "the rest of keytail's handlers", functions: []string{"routes.", "forwardauth."}},
	{name: "Go's scheduler: goroutines that wait for their sockets", functions: []string{"runtime.schedule", "runtime.park_m", "runtime.mcall", "runtime.findRunnable", "runtime.netpoll", "runtime.goready", "runtime.mstart"}, inclusive: true},
	garbageCollection,
}

func measureProfile(ctx context.Context, e *env, r *result) error {
	keys, err := generateKeys(e.size(1000, 50))
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name   string
		stages []stage
		run    func(context.Context, *env, []string) (int64, error)
	}{
		{"validator.Validate, one goroutine", hitStages, profileHits},
		{"GET /v1/auth, 16 connections", authStages, profileAuth},
	} {
		e.progress("%s", part.name)
		samples, calls, err := profiled(func() (int64, error) { return part.run(ctx, e, keys) })
		if err != nil {
			return err
		}
		r.table(stagesTable(part.name, part.stages, samples, calls))
	}
	return nil
}

// profileHits calls Validate and returns the number of calls.
func profileHits(_ context.Context, e *env, keys []string) (int64, error) {
	v, err := newCachedValidator(keys, 64)
	if err != nil {
		return 0, err
	}
	ctx, request := context.Background(), sampleRequest()
	duration, made := e.duration(20*time.Second), int64(0)
	for began := time.Now(); time.Since(began) < duration; {
		for _, key := range keys {
			if v.Validate(ctx, key, request).Code != apikey.Valid {
				return 0, errors.New("a cached key was not found")
			}
		}
		made += int64(len(keys))
	}
	return made, nil
}

// profileAuth sends forward-auth requests and returns their number.
func profileAuth(ctx context.Context, e *env, keys []string) (int64, error) {
	public, err := newPublicHandler(keys, forwardauth.Config{})
	if err != nil {
		return 0, err
	}
	g, stop, err := serveAuth(ctx, public, keys, 16)
	if err != nil {
		return 0, err
	}
	defer stop()
	got, err := g.run(ctx, e.duration(20*time.Second))
	if err != nil {
		return 0, err
	}
	return got.latency.TotalCount(), nil
}

// profiled returns the CPU profile of run, and its number of calls.
func profiled(run func() (int64, error)) (*profile.Profile, int64, error) {
	runtime.GC()
	var text bytes.Buffer
	if err := pprof.StartCPUProfile(&text); err != nil {
		return nil, 0, err
	}
	calls, err := run()
	pprof.StopCPUProfile()
	if err != nil {
		return nil, 0, err
	}
	samples, err := profile.Parse(&text)
	return samples, calls, err
}

// spent is CPU time in nanoseconds, and the part of it for memory allocation.
type spent struct{ all, memory int64 }

func (s spent) add(nanoseconds int64, memory bool) spent {
	s.all += nanoseconds
	if memory {
		s.memory += nanoseconds
	}
	return s
}

// stagesTable assigns each sample to a stage and sums them up.
func stagesTable(name string, stages []stage, samples *profile.Profile, calls int64) table {
	const rest = "everything else"
	by, total := map[string]spent{}, spent{}
	for _, sample := range samples.Sample {
		stack := stackOf(sample)
		stage := rest
		if i := stageOf(stages, stack); i >= 0 {
			stage = stages[i].name
		}
		// The second value of a CPU profile is in nanoseconds.
		memory := slices.ContainsFunc(stack, func(f string) bool { return strings.HasPrefix(f, "runtime.mallocgc") })
		by[stage], total = by[stage].add(sample.Value[1], memory), total.add(sample.Value[1], memory)
	}
	t := table{Title: fmt.Sprintf("%s (%d calls)", name, calls), Head: []string{"stage", "ns per call", "share", "of which memory, ns"}}
	line := func(name string, s spent) {
		a := func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/float64(max(1, calls))) }
		t.Rows = append(t.Rows, []string{name, a(s.all), fmt.Sprintf("%.1f %%", 100*float64(s.all)/float64(max(1, total.all))), a(s.memory)})
	}
	for _, stage := range stages {
		line(stage.name, by[stage.name])
	}
	line(rest, by[rest])
	line("total", total)
	return t
}

// stackOf returns the names of the functions on a sample's stack, the innermost first,
// without the import path before the package.
func stackOf(sample *profile.Sample) []string {
	var stack []string
	for _, location := range sample.Location {
		for _, line := range location.Line {
			name := line.Function.Name
			stack = append(stack, name[strings.LastIndexByte(name, '/')+1:])
		}
	}
	return stack
}

// stageOf returns the index of the stage that a stack counts for: the first inclusive
// stage on it, else the innermost stage. It returns -1 if the stack has no stage.
func stageOf(stages []stage, stack []string) int {
	innermost, depth := -1, len(stack)
	for i, s := range stages {
		at := slices.IndexFunc(stack, s.has)
		switch {
		case at < 0:
		case s.inclusive:
			return i
		case at < depth:
			innermost, depth = i, at
		}
	}
	return innermost
}

// has reports whether a function belongs to the stage.
func (s *stage) has(function string) bool {
	_, method, _ := strings.Cut(function, ".")
	return slices.ContainsFunc(s.functions, func(begin string) bool {
		return strings.HasPrefix(function, begin) || strings.HasPrefix(method, begin)
	})
}
