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
)

var profileRow = row{
	name:    "profile",
	what:    "where each microsecond of a hit goes: CPU profiles of validator.Validate on one goroutine, and of GET /v1/auth over keep-alive connections",
	against: "nothing. A sample of the profiler belongs to the innermost stage on its stack, whatever the runtime does for it; what it does there to get memory is the last column",
	reach:   "stated",
	run:     measureProfile,
}

// stage is a part of the way, by the functions that it is made of.
type stage struct {
	name string
	// within are what the names of its functions begin with; they may leave out the
	// path before the package's last element.
	within []string
	// whole: whatever these functions call is of this stage, too.
	whole bool
}

// collecting is what the runtime does about garbage by itself.
var collecting = stage{name: "collecting garbage, in the background", within: []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart"}, whole: true}

// ofHit are the stages of Validate. Where two have a function, it is the first one's.
var ofHit = []stage{
	{name: "the key's text: prefix, length, alphabet, checksum", within: []string{"apikey.ParseAfter", "apikey.check", "apikey.valid", "hash/crc32."}},
	{name: "SHA-256 of the text", within: []string{"sha256.", "apikey.HashOf"}},
	{name: "bigcache: the shard's lock, the look-up, a copy of the value", within: []string{"bigcache.", "keycache.(*byteStore)", "keycache.storeKey", "keycache.identity"}},
	{name: "how old is it: the clock, and the bound", within: []string{"keycache.(*Cache).Age", "keycache.(*Cache).answer", "time."}},
	{name: "may it be believed: hash, epoch, stamps, generation", within: []string{"keycache.(*Cache)", "keycache.(*generation)", "keycache.decodeEntry", "keycache.(*slots)", "keycache.odd"}},
	{name: "the record, decoded", within: []string{"keycache.decodeFound", "keycache.(*decoder)"}},
	{name: "the verdict: expiry, binding, scopes", within: []string{"apikey.Decide", "apikey.(*Record)", "validator.(*Validator).decide"}},
	{name: "counting it", within: []string{"validator.(*metrics)", "prometheus."}},
	{name: "the validator around them", within: []string{"validator.(*Validator)"}},
	collecting,
}

// ofAuth are the stages of a request to forward-auth.
var ofAuth = []stage{
	{name: "the asker, which is in the same process: its writes, reads and clock", within: []string{"(*generator)"}, whole: true},
	{name: "the kernel: reading from and writing to the socket", within: []string{"syscall.", "poll.(*FD)"}},
	{name: "net/http: reading the request", within: []string{"http.(*conn).readRequest", "http.readRequest", "textproto."}},
	{name: "net/http: writing the answer: a copy of the headers, sorting, their text", within: []string{"http.(*response)", "http.(*chunkWriter)", "http.Header", "bufio.(*Writer)"}},
	{name: "net/http: everything else", within: []string{"http."}},
	{name: "Gin: its context, the route", within: []string{"gin."}},
	{name: "the question: query, key, client's address", within: []string{"forwardauth.(*Authority).By", "forwardauth.(*questions)", "forwardauth.FindKey", "forwardauth.offered", "forwardauth.KeySource", "forwardauth.BearerToken", "forwardauth.ClientIP", "forwardauth.peerAddress"}, whole: true},
	{name: "the hit: validator.Validate", within: []string{"validator.(*Validator).Validate"}, whole: true},
	{name: "the answer's nine headers, their values and net/http's map", within: []string{"forwardauth.(*values)", "forwardauth.SetUnavailable", "forwardauth.stalenessText", "forwardauth.joinScopes", "forwardauth.escape", "routes.newEngine.commonHeaders", "forwardauth.RequestID"}, whole: true},
	{name: "keytail's handlers around them", within: []string{"routes.", "forwardauth."}},
	{name: "the scheduler: goroutines that wait for their sockets", within: []string{"runtime.schedule", "runtime.park_m", "runtime.mcall", "runtime.findRunnable", "runtime.netpoll", "runtime.goready", "runtime.mstart"}, whole: true},
	collecting,
}

func measureProfile(ctx context.Context, e *env, r *result) error {
	keys, err := texts(e.size(1000, 50))
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name   string
		stages []stage
		run    func(context.Context, *env, []string) (int64, error)
	}{
		{"validator.Validate, one goroutine", ofHit, profileHits},
		{"GET /v1/auth, 16 connections", ofAuth, profileAuth},
	} {
		e.say("%s", part.name)
		samples, calls, err := profiled(func() (int64, error) { return part.run(ctx, e, keys) })
		if err != nil {
			return err
		}
		r.table(stagesTable(part.name, part.stages, samples, calls))
	}
	return nil
}

// profileHits calls Validate and returns how often.
func profileHits(_ context.Context, e *env, keys []string) (int64, error) {
	v, err := held(keys, 64)
	if err != nil {
		return 0, err
	}
	ctx, need := context.Background(), request()
	lasting, made := e.lasting(20*time.Second), int64(0)
	for began := time.Now(); time.Since(began) < lasting; {
		for _, key := range keys {
			if v.Validate(ctx, key, need).Code != apikey.Valid {
				return 0, errors.New("a key that is held was not found")
			}
		}
		made += int64(len(keys))
	}
	return made, nil
}

// profileAuth asks forward-auth and returns how often.
func profileAuth(ctx context.Context, e *env, keys []string) (int64, error) {
	public, err := publicOf(keys, nil)
	if err != nil {
		return 0, err
	}
	a := answersOf{ask: askAuth}
	g, stop, err := a.side(ctx, public, keys, 16)
	if err != nil {
		return 0, err
	}
	defer stop()
	got, err := g.run(ctx, e.lasting(20*time.Second))
	if err != nil {
		return 0, err
	}
	return got.latency.TotalCount(), nil
}

// profiled is the CPU profile of a run, and what the run returned.
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

// spent is CPU time in nanoseconds, and what of it went into getting memory.
type spent struct{ all, memory int64 }

func (s spent) add(nanoseconds int64, memory bool) spent {
	s.all += nanoseconds
	if memory {
		s.memory += nanoseconds
	}
	return s
}

// stagesTable shares the samples out among the stages.
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
	t := table{Title: fmt.Sprintf("%s: %d calls", name, calls), Head: []string{"stage", "ns a call", "share", "of which memory, ns"}}
	line := func(name string, s spent) {
		a := func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/float64(max(1, calls))) }
		t.Rows = append(t.Rows, []string{name, a(s.all), fmt.Sprintf("%.1f %%", 100*float64(s.all)/float64(max(1, total.all))), a(s.memory)})
	}
	for _, stage := range stages {
		line(stage.name, by[stage.name])
	}
	line(rest, by[rest])
	line("all", total)
	return t
}

// stackOf are the names of the functions of a sample, the innermost first, without the
// path before the package.
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

// stageOf is the stage of a stack, -1 if it is none of them: the first one that
// everything below is counted for, or the innermost.
func stageOf(stages []stage, stack []string) int {
	innermost, depth := -1, len(stack)
	for i, s := range stages {
		at := slices.IndexFunc(stack, s.has)
		switch {
		case at < 0:
		case s.whole:
			return i
		case at < depth:
			innermost, depth = i, at
		}
	}
	return innermost
}

// has reports whether a function is of the stage.
func (s *stage) has(function string) bool {
	_, method, _ := strings.Cut(function, ".")
	return slices.ContainsFunc(s.within, func(begin string) bool {
		return strings.HasPrefix(function, begin) || strings.HasPrefix(method, begin)
	})
}
