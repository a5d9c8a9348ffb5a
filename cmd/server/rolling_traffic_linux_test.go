package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/seed"
)

// requestKind is a request through nginx, and its right answer.
type requestKind struct {
	name, method, url string
	header            http.Header
	body              string
	status            int
	// contains is a part of the right body.
	contains string
}

// requestKinds returns the kinds of callers of verify, followed by those of visitors of
// the application.
func requestKinds(t *testing.T, url string) []requestKind {
	t.Helper()
	example := func(name string) string {
		e, err := seed.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return e.Key
	}
	verify := func(name, code string) requestKind {
		body, err := json.Marshal(map[string]any{"key": example(name), "scopes": []string{"orders:read"}})
		if err != nil {
			t.Fatal(err)
		}
		return requestKind{
			name: "verify " + name, method: http.MethodPost, url: url + "/v1/keys/verify", body: string(body),
			header: http.Header{"Content-Type": {"application/json"}},
			status: http.StatusOK, contains: fmt.Sprintf(`"code":%q`, code),
		}
	}
	visit := func(name string, status int, contains string) requestKind {
		return requestKind{
			name: "visit with " + name, method: http.MethodGet, url: url + "/app/page",
			header: http.Header{"Authorization": {"Bearer " + example(name)}, "X-Auth-User-Id": {"root"}},
			status: status, contains: contains,
		}
	}
	return []requestKind{
		verify(seed.Valid, "VALID"),
		verify(seed.Expired, "EXPIRED"),
		visit(seed.Valid, http.StatusOK, "hello, "),
		visit(seed.Expired, http.StatusUnauthorized, ""),
	}
}

func (a requestKind) request(t *testing.T) *http.Request {
	request, err := http.NewRequestWithContext(t.Context(), a.method, a.url, strings.NewReader(a.body))
	if err != nil {
		t.Error(err)
	}
	request.Header = a.header
	// Otherwise the client would retry the request, and hide a failure.
	request.GetBody = nil
	return request
}

// traffic counts the answers that the callers get.
type traffic struct {
	stop  chan struct{}
	group sync.WaitGroup

	mu       sync.Mutex
	times    []time.Duration
	byName   map[string]int
	failures []string
}

func (f *fleet) startTraffic() *traffic {
	tr := &traffic{stop: make(chan struct{}), byName: map[string]int{}}
	all := requestKinds(f.t, f.url)
	for n := range verifiers + visitors {
		mine := all[:2]
		if n >= verifiers {
			mine = all[2:]
		}
		tr.group.Go(func() { tr.call(f.t, mine) })
	}
	f.t.Cleanup(tr.end)
	return tr
}

// call sends requests over one connection until end.
func (tr *traffic) call(t *testing.T, kinds []requestKind) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: waitTimeout}
	pace := time.NewTicker(rollingPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-tr.stop:
			return
		case <-pace.C:
		}
		a := kinds[n%len(kinds)]
		began := time.Now()
		failure := a.do(t, client)
		tr.note(a.name, time.Since(began), failure)
	}
}

// do sends the request, and describes what is wrong with the answer.
func (a requestKind) do(t *testing.T, client *http.Client) (failure string) {
	response, err := client.Do(a.request(t))
	if err != nil {
		return fmt.Sprintf("%s: %v", a.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != a.status || !strings.Contains(string(body), a.contains) || strings.Contains(string(body), "root") {
		return fmt.Sprintf("%s: %s, error %v, %s", a.name, response.Status, err, body)
	}
	return ""
}

func (tr *traffic) note(name string, took time.Duration, failure string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.times = append(tr.times, took)
	tr.byName[name]++
	if failure != "" {
		tr.failures = append(tr.failures, failure)
	}
}

func (tr *traffic) untilAnswers(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.times)
	}
	want := count() + more
	eventually(t, "got no more answers", func() bool { return count() >= want })
}

// end stops the callers, and returns when the last request is answered. It may be called
// twice.
func (tr *traffic) end() {
	tr.mu.Lock()
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.mu.Unlock()
	tr.group.Wait()
}

func (tr *traffic) summary() string {
	slices.Sort(tr.times)
	at := func(percent int) time.Duration { return tr.times[min(len(tr.times)*percent/100, len(tr.times)-1)] }
	return fmt.Sprintf("%d requests %v, %d failed; p50 %v, p99 %v, slowest %v",
		len(tr.times), tr.byName, len(tr.failures), at(50), at(99), at(100))
}

// accesses counts nginx's requests to the instances, by its access log.
type accesses struct {
	byInstance map[string]int
	// again counts requests that nginx sent to more than one instance.
	again int
}

var upstreams = regexp.MustCompile(`upstream=(.*)`)

func (f *fleet) accesses() accesses {
	content, err := os.ReadFile(f.access)
	if err != nil {
		f.t.Fatal(err)
	}
	result := accesses{byInstance: map[string]int{}}
	names := map[string]string{}
	for n, i := range f.instances {
		names[i.addr] = fmt.Sprintf("instance %d", n+1)
	}
	for line := range bytes.Lines(content) {
		match := upstreams.FindSubmatch(line)
		if match == nil {
			continue
		}
		asked := strings.Split(string(match[1]), ", ")
		if len(asked) > 1 {
			result.again++
		}
		// The last one answered. Requests to the application have no instance.
		if name, ours := names[asked[len(asked)-1]]; ours {
			result.byInstance[name]++
		}
	}
	return result
}

func (f *fleet) accessSummary() string {
	a := f.accesses()
	return fmt.Sprintf("answered by %v; %d requests were asked again of another instance", a.byInstance, a.again)
}
