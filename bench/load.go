package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// headerTimeout is how long a server waits for the headers of a request.
const headerTimeout = 10 * time.Second

// listen serves a handler on a free port of loopback until stop is called.
func listen(ctx context.Context, handler http.Handler) (address string, stop func(), err error) {
	return serveOn(ctx, handler, "tcp", "127.0.0.1:0")
}

// listenUnix is listen on a Unix socket. The address is its path.
func listenUnix(ctx context.Context, handler http.Handler) (path string, stop func(), err error) {
	// The path of a socket has at most about a hundred bytes.
	directory, err := os.MkdirTemp("", "bench")
	if err != nil {
		return "", nil, err
	}
	remove := func() { _ = os.RemoveAll(directory) }
	address, closeServer, err := serveOn(ctx, handler, "unix", filepath.Join(directory, "s"))
	if err != nil {
		remove()
		return "", nil, err
	}
	return address, func() { closeServer(); remove() }, nil
}

func serveOn(ctx context.Context, handler http.Handler, network, address string) (string, func(), error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, address)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	return listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

// dial connects to an address of listen or listenUnix.
func dial(ctx context.Context, address string) (net.Conn, error) {
	network := "tcp"
	if filepath.IsAbs(address) {
		network = "unix"
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}

// load is the result of sending requests over several connections.
type load struct {
	perSecond float64
	// cpu is the CPU time of this process per request: of the generator, and of the
	// server if it runs in this process.
	cpu time.Duration
	// latency is in nanoseconds, with three significant digits.
	latency *hdrhistogram.Histogram
}

func (l *load) quantile(q float64) time.Duration {
	return time.Duration(l.latency.ValueAtQuantile(q))
}

// newLatency returns a histogram for latencies of up to one minute.
func newLatency() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Nanoseconds(), 3)
}

// generator sends prepared requests over keep-alive connections and reads the responses.
// It does as little work as possible: it shares the machine with the server, so each
// microsecond that it uses makes two sides look more alike.
type generator struct {
	address string
	// requests are encoded requests. Each connection sends them in a cycle.
	requests    [][]byte
	connections int
	// status is the expected status of each response. Any other status is an error.
	status int
	// pace is the time between two requests of a connection. Zero: a connection sends the
	// next request as soon as it has the response.
	pace time.Duration
}

// newGenerator returns a generator that sends a request for each key in turn.
func newGenerator(address string, newRequest func(address, key string) (*http.Request, error), keys []string, connections int) (*generator, error) {
	g := &generator{address: address, connections: connections, status: http.StatusOK}
	for _, key := range keys {
		r, err := newRequest("keytail.example", key)
		if err != nil {
			return nil, err
		}
		text, err := raw(r)
		if err != nil {
			return nil, err
		}
		g.requests = append(g.requests, text)
	}
	return g, nil
}

// serveAuth serves forward-auth, and returns a generator that sends requests to it.
func serveAuth(ctx context.Context, handler http.Handler, keys []string, connections int) (*generator, func(), error) {
	address, stop, err := listen(ctx, handler)
	if err != nil {
		return nil, nil, err
	}
	g, err := newGenerator(address, authRequest, keys, connections)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return g, stop, nil
}

// run sends requests for the duration.
func (g *generator) run(ctx context.Context, duration time.Duration) (*load, error) {
	return measureLoad(ctx, g.connections, duration, g.connection)
}

// measureLoad runs so many senders at a time until the duration has passed. send sends the requests of
// one of them, by its number, until a time, and returns their latencies. It sends at least one, also when
// a busy machine lets it begin after that time: without any there is no rate that others can be compared with.
func measureLoad(ctx context.Context, senders int, duration time.Duration, send func(ctx context.Context, sender int, until time.Time) (*hdrhistogram.Histogram, error)) (*load, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runtime.GC()
	var mutex sync.Mutex
	all := &load{latency: newLatency()}
	began, before := time.Now(), cpuTime()
	var group sync.WaitGroup
	for sender := range senders {
		group.Go(func() {
			latency, err := send(ctx, sender, began.Add(duration))
			if err != nil {
				cancel(err)
				return
			}
			mutex.Lock()
			defer mutex.Unlock()
			all.latency.Merge(latency)
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	all.perSecond = float64(all.latency.TotalCount()) / time.Since(began).Seconds()
	all.cpu = (cpuTime() - before) / time.Duration(max(1, all.latency.TotalCount()))
	return all, nil
}

func (g *generator) connection(ctx context.Context, first int, until time.Time) (*hdrhistogram.Histogram, error) {
	conn, err := dial(ctx, g.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(until.Add(10 * time.Second)); err != nil {
		return nil, err
	}
	responses := bufio.NewReaderSize(conn, 16<<10)
	latency := newLatency()
	begin := first * len(g.requests) / g.connections
	at := begin
	for began := time.Now(); at == begin || (began.Before(until) && ctx.Err() == nil); {
		next := began.Add(g.pace)
		if _, err := conn.Write(g.requests[at%len(g.requests)]); err != nil {
			return nil, err
		}
		at++
		status, err := readResponse(responses)
		if err != nil {
			return nil, err
		}
		if status != g.status {
			return nil, fmt.Errorf("got status %d, want %d", status, g.status)
		}
		now := time.Now()
		if err := latency.RecordValue(max(1, now.Sub(began).Nanoseconds())); err != nil {
			return nil, err
		}
		if wait := next.Sub(now); wait > 0 {
			time.Sleep(wait)
		}
		began = time.Now()
	}
	return latency, nil
}

var contentLength = []byte("Content-Length: ")

// readResponse reads an HTTP/1.1 response as Go's server writes it, and discards it.
func readResponse(r *bufio.Reader) (status int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, errors.New("the status line is too short")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			_, err := r.Discard(length)
			return status, err
		}
		if value, found := bytes.CutPrefix(line, contentLength); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}

// raw encodes a request.
func raw(r *http.Request) ([]byte, error) {
	var text bytes.Buffer
	r.Header.Set("User-Agent", "bench")
	err := r.Write(&text)
	return text.Bytes(), err
}
