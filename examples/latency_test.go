//go:build linux

package examples_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// latency is the duration of the measurement: go test ./examples -run Latency -v -latency 20s
var latency = flag.Duration("latency", 0, "how long TestLatency measures each proxy; 0 only checks that it works")

// lane is one connection on which the same request is sent repeatedly.
type lane struct {
	name, addr string
	request    request
	conn       net.Conn
	reader     *bufio.Reader
	times      []time.Duration
}

// once sends the request and reads the whole response. The time does not include
// connecting: a proxy closes a connection after some number of requests.
func (l *lane) once(t *testing.T) {
	t.Helper()
	if l.conn == nil {
		conn, err := dialFrom(t.Context(), clientAddr, l.addr)
		if err != nil {
			t.Fatal(err)
		}
		l.conn, l.reader = conn, bufio.NewReader(conn)
	}
	if err := l.conn.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := io.WriteString(l.conn, l.request.bytes(l.addr)); err != nil {
		t.Fatalf("%s: %v", l.name, err)
	}
	response, err := http.ReadResponse(l.reader, nil)
	if err != nil {
		t.Fatalf("%s: %v", l.name, err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	l.times = append(l.times, time.Since(began))
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", l.name, response.Status, err)
	}
	if response.Close {
		l.close()
	}
}

func (l *lane) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// at returns the time within which this share of the requests completed.
func (l *lane) at(share float64) time.Duration {
	slices.Sort(l.times)
	return l.times[min(len(l.times)-1, int(share*float64(len(l.times))))]
}

// TestLatency measures the latency that keytail adds to a request through each proxy. It
// sends one request after the other, in turn: through the proxy to a path without a check,
// through the proxy to a path with one, directly to the API, and directly to keytail.
func TestLatency(t *testing.T) {
	all := proxies()
	if *latency == 0 {
		all = all[:1]
	}
	var rows []string
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) { rows = append(rows, measure(t, p)) })
	}
	t.Logf("microseconds, median / p99:\n| proxy | pairs | without keytail | with keytail | added | the API alone | keytail alone |\n|---|---|---|---|---|---|---|\n%s", strings.Join(rows, "\n"))
}

func measure(t *testing.T, p proxy) (row string) {
	t.Helper()
	s := newStage(t, p)
	alive := field{"Connection", "keep-alive"}
	key := bearer(s.keys["valid"])
	without := &lane{name: "without", addr: p.http, request: request{method: http.MethodGet, target: "/public/1", header: []field{alive, key}}}
	with := &lane{name: "with", addr: p.http, request: request{method: http.MethodGet, target: "/orders/1", header: []field{alive, key}}}
	api := &lane{name: "the API", addr: upstreamAddr, request: without.request}
	daemon := &lane{name: "keytail", addr: keytailAddr, request: request{method: http.MethodGet, target: "/v1/auth/policy/orders", header: []field{alive, key}}}
	lanes := []*lane{without, with, api, daemon}
	const warmUp = 200
	deadline := time.Time{}
	for round := 0; round < warmUp || time.Now().Before(deadline); round++ {
		if round == warmUp-1 {
			deadline = time.Now().Add(*latency)
			for _, l := range lanes {
				l.times = nil
			}
		}
		// Each round starts with another lane, so that none always follows the same one.
		for i := range lanes {
			lanes[(round+i)%len(lanes)].once(t)
		}
		s.upstream.forget()
	}
	for _, l := range lanes {
		l.close()
	}
	both := func(a, b time.Duration) string { return fmt.Sprintf("%d / %d", a.Microseconds(), b.Microseconds()) }
	added := both(with.at(0.5)-without.at(0.5), with.at(0.99)-without.at(0.99))
	cells := []string{p.name, fmt.Sprint(len(with.times)), both(without.at(0.5), without.at(0.99)), both(with.at(0.5), with.at(0.99)), added, both(api.at(0.5), api.at(0.99)), both(daemon.at(0.5), daemon.at(0.99))}
	return "| " + strings.Join(cells, " | ") + " |"
}
