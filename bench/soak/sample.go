package soak

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Sample is what was measured in one second.
type Sample struct {
	// At is the time since the load began.
	At time.Duration
	// RSS and Heap (in use) are in bytes. Threads counts those that Go has created.
	RSS, Heap, Goroutines, Descriptors, Threads float64
	// Staleness is in seconds; -1 before the first heartbeat came back.
	Staleness float64
	// State is the service's state, such as "live".
	State string
	// Requests is the number of answers since the last sample, per second, and P99 the 99 %
	// quantile of their durations, as clients see them.
	Requests float64
	P99      time.Duration
}

// stateLabel is the beginning of a series of keytail_state.
const stateLabel = `keytail_state{state="`

// scrape reads /metrics at an address.
func scrape(ctx context.Context, client *http.Client, address string) (Sample, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return Sample{}, err
	}
	response, err := client.Do(r)
	if err != nil {
		return Sample{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return Sample{}, fmt.Errorf("/metrics: %s", response.Status)
	}
	return parse(response.Body)
}

// parse reads the series of a Sample. Only those of keytail may be absent.
func parse(text io.Reader) (Sample, error) {
	var s Sample
	needed := map[string]*float64{
		"process_resident_memory_bytes": &s.RSS, "go_memstats_heap_inuse_bytes": &s.Heap, "go_goroutines": &s.Goroutines,
		"process_open_fds": &s.Descriptors, "go_threads": &s.Threads,
	}
	wanted := map[string]*float64{"keytail_staleness_seconds": &s.Staleness}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		to := needed[name]
		if delete(needed, name); to == nil {
			to = wanted[name]
		}
		if state, is := strings.CutPrefix(name, stateLabel); is && value == "1" {
			s.State = strings.TrimSuffix(state, `"}`)
		}
		if to == nil {
			continue
		}
		var err error
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return s, fmt.Errorf("/metrics: %s: %w", name, err)
		}
	}
	if len(needed) > 0 {
		return s, fmt.Errorf("/metrics has no %v: run the soak on Linux, where the process reports them", mapKeys(needed))
	}
	return s, lines.Err()
}

func mapKeys(m map[string]*float64) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	return names
}
