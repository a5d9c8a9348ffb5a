package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

var pausedRounds = flag.Int("paused.rounds", 4, "how often TestAPausedProcessReportsItsStaleness stops each process")

const (
	// pausedMaxStale is short, so that a pause outlasts it.
	pausedMaxStale = 1500 * time.Millisecond
	pausedKeys     = 24
	// pausedCallers send requests all the time, pausedBurst while the process is stopped.
	pausedCallers, pausedBurst = 6, 24
	pausedPace                 = 3 * time.Millisecond
	// forgedAhead is the number of future counters that are forged during a pause.
	forgedAhead = 12
	// pausedAfter is the number of answers between two pauses, pausedShown the maximum
	// number of violations in the test's output.
	pausedAfter, pausedShown = 300, 10
)

// wireResolution is that of as_of and staleness_ms.
const wireResolution = time.Millisecond

// TestAPausedProcessReportsItsStaleness stops a real keytail process, as the pause
// of a virtual machine does, and changes keys in the meantime. The pauses are
// shorter and longer than max_stale. Requests arrive before, during and after each
// pause. No answer may have a false age, and none may be VALID after max_stale.
func TestAPausedProcessReportsItsStaleness(t *testing.T) {
	for _, scope := range []string{mongotest.ScopeDatabase, mongotest.ScopeCollection} {
		t.Run(mongotest.NameDevmongo+"/"+scope, func(t *testing.T) {
			t.Parallel()
			testPauses(t, &mongotest.StartDevmongo(t, devmongo.Config{}).Server, scope)
		})
	}
	t.Run(mongotest.NameSecantus, func(t *testing.T) {
		t.Parallel()
		testPauses(t, &mongotest.StartSecantus(t, mongotest.SecantusConfig{}).Server, mongotest.ScopeDatabase)
	})
}

func testPauses(t *testing.T, server *mongotest.Server, scope string) {
	p := startPaused(t, server, scope)
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for n := range pausedCallers {
		callers.Go(func() { p.call(ctx, rand.New(rand.NewPCG(uint64(n), 1))) })
	}
	for round := range *pausedRounds {
		// Alternately longer and shorter than max_stale.
		pause := pausedMaxStale/5 + rand.N(pausedMaxStale/2)
		if round%2 == 0 {
			pause = pausedMaxStale + pausedMaxStale/10 + rand.N(pausedMaxStale/2)
		}
		p.round(pause, round%4 < 2)
	}
	cancel()
	callers.Wait()
	// The resolution is part of the reported staleness of an answer at the limit, too.
	found := p.history.Check(pausedMaxStale + wireResolution)
	for _, v := range found[:min(len(found), pausedShown)] {
		t.Error(v)
	}
	if more := len(found) - pausedShown; more > 0 {
		t.Errorf("and %d more", more)
	}
	totals := p.history.Totals()
	if totals.Answers == totals.Unavailable {
		t.Error("every answer was UNAVAILABLE")
	}
	t.Logf("%d pauses, %d writes during them, %d answers, %d of them UNAVAILABLE", *pausedRounds, totals.Writes-pausedKeys, totals.Answers, totals.Unavailable)
}

// paused is a process that a test stops and continues, with the history of its answers.
type paused struct {
	t        *testing.T
	instance *instance
	keys     *mongo.Collection
	history  *nemesis.History
	texts    []string
	active   []bool
}

func startPaused(t *testing.T, server *mongotest.Server, scope string) *paused {
	t.Helper()
	name := server.Database(t)
	p := &paused{t: t, history: nemesis.NewHistory(), keys: mongotest.CreateAPIKeys(t, server.Client(t).Database(name))}
	for i := range pausedKeys {
		text, err := apikey.Generate(apikey.DefaultPrefix, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.texts, p.active = append(p.texts, text), append(p.active, true)
		p.write(i, func(ctx context.Context) error {
			_, err := p.keys.InsertOne(ctx, bson.D{
				{Key: "_id", Value: i},
				{Key: "key_hash", Value: apikey.HashOf(text).Hex()},
				{Key: "user_id", Value: "user-1"},
				{Key: "scopes", Value: bson.A{}},
				{Key: "is_active", Value: true},
			})
			return err
		})
	}
	host := "127.0.0.1"
	p.instance = &instance{program: "env", addr: freeAddr(t, host), ops: freeAddr(t, host)}
	p.instance.args = []string{
		asBinary + "=1", os.Args[0], "serve", "--mongodb-uri=" + server.URI, "--database=" + name, "--stream-scope=" + scope,
		"--addr=" + p.instance.addr, "--ops-addr=" + p.instance.ops, "--max-stale=" + pausedMaxStale.String(),
		"--heartbeat-interval=150ms", "--cache-size=8", "--log-level=warn", "--drain-delay=0s",
	}
	t.Cleanup(func() { p.instance.stop(syscall.SIGKILL) })
	p.instance.start(t)
	return p
}

// write makes a write and records the key's new state.
func (p *paused) write(i int, do func(context.Context) error) {
	p.t.Helper()
	state := apikey.Disabled
	if p.active[i] {
		state = apikey.Valid
	}
	acked := p.history.AddWrite(p.label(i), state, time.Now())
	ctx, cancel := context.WithTimeout(p.t.Context(), waitTimeout)
	defer cancel()
	if err := do(ctx); err != nil {
		p.t.Fatal(err)
	}
	acked(time.Now())
}

func (p *paused) label(i int) string { return fmt.Sprint("key-", i) }

// flip revokes an active key, and makes a revoked one active.
func (p *paused) flip(i int) {
	p.t.Helper()
	p.active[i] = !p.active[i]
	p.write(i, func(ctx context.Context) error {
		_, err := p.keys.UpdateByID(ctx, i, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: p.active[i]}}}})
		return err
	})
}

// round stops the process, changes half of the keys, and continues the process after the
// pause. By then requests wait in its sockets.
func (p *paused) round(pause time.Duration, forged bool) {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	stopped := time.Now()
	if forged {
		p.forge()
	}
	for i := range pausedKeys {
		if i%2 == 0 || rand.IntN(4) == 0 {
			p.flip(i)
		}
	}
	<-time.After(time.Until(stopped.Add(pause)))
	var burst sync.WaitGroup
	for n := range pausedBurst {
		burst.Go(func() {
			p.validate(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitTimeout}, n)
		})
	}
	// Until the requests are in the sockets.
	<-time.After(20 * time.Millisecond)
	p.signal(syscall.SIGCONT)
	burst.Wait()
	p.converges()
	want := p.history.Totals().Answers + pausedAfter
	eventually(p.t, "got no more answers", func() bool { return p.history.Totals().Answers >= want })
}

func (p *paused) signal(signal syscall.Signal) {
	p.t.Helper()
	process := p.instance.process.cmd.Process
	if err := process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	want := signal == syscall.SIGSTOP
	eventually(p.t, "the process did not react to "+signal.String(), func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Pid))
		return err == nil && strings.Contains(string(status), "\nState:\tT") == want
	})
}

// forge writes counters into the instance's heartbeat that the instance might use after
// the pause. In the oplog they come before the writes of the pause.
func (p *paused) forge() {
	p.t.Helper()
	beats := p.keys.Database().Collection(changestream.HeartbeatCollection)
	raw, err := beats.FindOne(p.t.Context(), bson.D{}).Raw()
	if err != nil {
		p.t.Fatal(err)
	}
	n, _ := raw.Lookup("n").AsInt64OK()
	for i := range int64(forgedAhead) {
		if _, err := beats.UpdateByID(p.t.Context(), raw.Lookup("_id"), bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n + 1 + i}}}}); err != nil {
			p.t.Fatal(err)
		}
	}
}

// call validates random keys over one connection until ctx ends.
func (p *paused) call(ctx context.Context, random *rand.Rand) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: waitTimeout}
	for ctx.Err() == nil {
		p.validate(client, random.IntN(pausedKeys))
		<-time.After(pausedPace)
	}
}

// validate validates a key and records the answer.
func (p *paused) validate(client *http.Client, i int) (code string) {
	body, err := json.Marshal(map[string]string{"key": p.texts[i]})
	if err != nil {
		p.t.Error(err)
	}
	asked := time.Now()
	response, err := client.Post("http://"+p.instance.addr+"/v1/keys/verify", "application/json", bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	var verdict struct {
		Code   string    `json:"code"`
		AsOf   time.Time `json:"as_of"`
		MS     int64     `json:"staleness_ms"`
		Source string    `json:"source"`
	}
	err = json.NewDecoder(response.Body).Decode(&verdict)
	given := time.Now()
	answer := nemesis.Answer{
		Key: p.label(i), Asked: asked, Given: given, Instance: "keytail", Cached: verdict.Source == apikey.SourceCache.String(),
		// as_of is truncated to milliseconds and staleness_ms is rounded up, so the time from
		// one as_of to the request can be up to a millisecond more than staleness_ms.
		AsOf: verdict.AsOf, Staleness: time.Duration(verdict.MS)*time.Millisecond + wireResolution,
	}
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		answer.Code = apikey.Unavailable
	case err == nil && verdict.Code == apikey.Valid.String():
		answer.Code = apikey.Valid
	case err == nil && verdict.Code == apikey.Disabled.String():
		answer.Code = apikey.Disabled
	default:
		p.t.Errorf("%s: %s, %+v, %v", p.label(i), response.Status, verdict, err)
		return ""
	}
	p.history.AddAnswer(answer)
	return answer.Code.String()
}

// converges validates each key until its verdict is that of its last write.
func (p *paused) converges() {
	p.t.Helper()
	client := &http.Client{Timeout: waitTimeout}
	defer client.CloseIdleConnections()
	for i := range p.texts {
		want := apikey.Disabled
		if p.active[i] {
			want = apikey.Valid
		}
		eventually(p.t, p.label(i)+" did not become "+want.String(), func() bool { return p.validate(client, i) == want.String() })
	}
}
