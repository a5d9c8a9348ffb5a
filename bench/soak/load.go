package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/internal/timing"
)

// callTimeout is more than a request takes whose database read runs into all of its
// limits.
const callTimeout = 15 * time.Second

// load is everything that clients do during a run.
type load struct {
	daemon   *child.Daemon
	recorder *recorder
	keys     *keys
	seed     uint64
	client   *http.Client
	grpc     *grpc.ClientConn
	group    sync.WaitGroup
	workers  uint64
}

func newLoad(daemon *child.Daemon, r *recorder, k *keys, seed uint64) (*load, error) {
	conn, err := grpc.NewClient(daemon.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100, MaxConnsPerHost: 100}
	return &load{daemon: daemon, recorder: r, keys: k, seed: seed, grpc: conn, client: &http.Client{Transport: transport, Timeout: callTimeout}}, nil
}

// worker makes one request, or takes one step.
type worker func(ctx context.Context, random *rand.Rand)

// every repeats a step until ctx ends, with random gaps whose mean is the pace.
func (l *load) every(ctx context.Context, pace time.Duration, step worker) {
	l.workers++
	random := rand.New(rand.NewPCG(l.seed, l.workers)) //nolint:gosec // a repeatable load, no secret
	l.group.Go(func() {
		for timing.Sleep(ctx, time.Duration(random.Int64N(2*int64(pace)))) {
			step(ctx, random)
		}
	})
}

// share is a part of the requests.
type share struct {
	part float64
	step worker
}

// perWorker is how many requests a second one worker makes at most.
const perWorker = 50

// start starts all clients. They end with ctx; wait for them by stop.
func (l *load) start(ctx context.Context, rate int) {
	for _, s := range []share{
		{0.40, l.verifyQuiet},
		{0.25, l.verifyRecorded},
		{0.20, l.forwardAuth},
		{0.10, l.check},
		{0.04, l.verifyUnknown},
		{0.01, l.garbage},
	} {
		n := max(1, int(s.part*float64(rate)/perWorker))
		for range n {
			l.every(ctx, time.Duration(float64(n)*float64(time.Second)/(s.part*float64(rate))), s.step)
		}
	}
	for range subscribers {
		l.every(ctx, time.Second, l.subscribe)
	}
	for range readers {
		l.every(ctx, readers*200*time.Millisecond, l.readAdmin)
	}
	l.every(ctx, 300*time.Millisecond, l.leave)
	l.every(ctx, time.Second, l.halfRequest)
	l.every(ctx, 2*time.Second, l.halfCall)
	l.every(ctx, reloadPace, l.reload)
}

// stop returns when all clients have left.
func (l *load) stop() {
	l.group.Wait()
	l.client.CloseIdleConnections()
	_ = l.grpc.Close()
}

// json sends a request and decodes the body of a success, if to is not nil.
func (l *load) json(ctx context.Context, method, address, path, token string, body, to any) (status int, err error) {
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, content)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return l.do(r, to)
}

// do sends a request and decodes the body of a success, if to is not nil.
func (l *load) do(r *http.Request, to any) (status int, err error) {
	response, err := l.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, response.Body) // so that the connection can be used again
		_ = response.Body.Close()
	}()
	if to != nil && response.StatusCode < http.StatusMultipleChoices {
		if err := json.NewDecoder(response.Body).Decode(to); err != nil {
			return response.StatusCode, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
		}
	}
	return response.StatusCode, nil
}

// timed makes a request of a kind. Errors are wrong answers, unless the run has ended.
func (l *load) timed(ctx context.Context, kind string, request func(ctx context.Context) error) {
	began := time.Now()
	// A request that has begun is waited for: otherwise its outcome would be lost.
	if err := request(context.WithoutCancel(ctx)); err != nil {
		l.recorder.wrongf("%s after %v: %v", kind, time.Since(began).Round(time.Millisecond), err)
		return
	}
	l.recorder.answered(kind, time.Since(began))
}

var errStatus = errors.New("unexpected status")
