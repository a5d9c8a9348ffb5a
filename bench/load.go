package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// listen serves a handler on a free port until stop is called.
func listen(ctx context.Context, handler http.Handler) (address string, stop func(), err error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	return listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
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

// run sends requests for the duration.
func (g *generator) run(ctx context.Context, duration time.Duration) (*load, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runtime.GC()
	var mutex sync.Mutex
	all := &load{latency: newLatency()}
	began, before := time.Now(), cpuTime()
	var group sync.WaitGroup
	for c := range g.connections {
		group.Go(func() {
			latency, err := g.connection(ctx, c, began.Add(duration))
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
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", g.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(until.Add(10 * time.Second)); err != nil {
		return nil, err
	}
	responses := bufio.NewReaderSize(conn, 16<<10)
	latency := newLatency()
	at := first * len(g.requests) / g.connections
	for began := time.Now(); began.Before(until) && ctx.Err() == nil; {
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
