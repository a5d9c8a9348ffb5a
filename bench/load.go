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

// listen serves a handler on a port of its own until close is called.
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

// load is what a number of connections got answered, each asking as fast as it
// gets answers.
type load struct {
	perSecond float64
	// cpu is what this process used for each: who asks, and who answers if that is in
	// it too.
	cpu time.Duration
	// latency in nanoseconds, to three digits.
	latency *hdrhistogram.Histogram
}

func (l *load) quantile(q float64) time.Duration {
	return time.Duration(l.latency.ValueAtQuantile(q))
}

// newLatency has room for a minute.
func newLatency() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Nanoseconds(), 3)
}

// generator sends prepared requests over keep-alive connections and reads the
// answers, with as little work as that can be done: on the machine that answers,
// too, each microsecond here makes two sides look more alike.
type generator struct {
	address string
	// requests are whole, as bytes; each connection goes round through them.
	requests    [][]byte
	connections int
	// status is that of each answer; another one is an error.
	status int
	// pace is the time between two requests of a connection. Zero: as fast as it gets
	// answers.
	pace time.Duration
}

// run asks for so long.
func (g *generator) run(ctx context.Context, lasting time.Duration) (*load, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runtime.GC()
	var mutex sync.Mutex
	all := &load{latency: newLatency()}
	began, before := time.Now(), cpuTime()
	var group sync.WaitGroup
	for c := range g.connections {
		group.Go(func() {
			latency, err := g.connection(ctx, c, began.Add(lasting))
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
	answers := bufio.NewReaderSize(conn, 16<<10)
	latency := newLatency()
	at := first * len(g.requests) / g.connections
	for began := time.Now(); began.Before(until) && ctx.Err() == nil; {
		next := began.Add(g.pace)
		if _, err := conn.Write(g.requests[at%len(g.requests)]); err != nil {
			return nil, err
		}
		at++
		status, err := readAnswer(answers)
		if err != nil {
			return nil, err
		}
		if status != g.status {
			return nil, fmt.Errorf("status %d, wanted %d", status, g.status)
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

// readAnswer reads an HTTP/1.1 answer as Go's server writes it, and forgets it.
func readAnswer(r *bufio.Reader) (status int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, errors.New("this is no answer")
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

// raw is a request as bytes.
func raw(r *http.Request) ([]byte, error) {
	var text bytes.Buffer
	r.Header.Set("User-Agent", "bench")
	err := r.Write(&text)
	return text.Bytes(), err
}
