package soak

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keytail/keytail/internal/testprogram"
)

// leakVariable makes the test binary a program that leaks what it names.
const leakVariable = "KEYTAIL_SOAK_LEAK"

func TestMain(m *testing.M) {
	if leak := os.Getenv(leakVariable); leak != "" {
		fmt.Fprintln(os.Stderr, serveLeak(leak))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// leakedBytes is how much the heap grows by each scrape.
const leakedBytes = 512 << 10

// leaks maps a name to what each scrape leaks.
func leaks() map[string]func() {
	var files []*os.File
	var heap [][]byte
	return map[string]func(){
		"nothing":    func() {},
		"goroutines": func() { go func() { select {} }() },
		"descriptors": func() {
			file, err := os.Open(os.DevNull)
			if err != nil {
				panic(err)
			}
			files = append(files, file)
		},
		"heap": func() {
			bytes := make([]byte, leakedBytes)
			for i := range bytes {
				bytes[i] = 1
			}
			heap = append(heap, bytes)
		},
	}
}

// serveLeak serves metrics of this process and leaks by each request.
func serveLeak(name string) error {
	leak := leaks()[name]
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("serving at", listener.Addr())
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // ends with the test
		leak()
		metrics.ServeHTTP(w, r)
	}))
}

// TestLeaksAreFound measures processes that leak, one thing each, as a soak measures a
// daemon. What leaks is not flat, and everything else is, except the memory that the leak
// needs, too: with the race detector even a goroutine needs much.
func TestLeaksAreFound(t *testing.T) {
	for name, want := range map[string][]string{
		"nothing":     nil,
		"goroutines":  {"goroutines"},
		"descriptors": {"open descriptors"},
		"heap":        {memory, "heap in use"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(leakVariable, name)
			var notFlat []string
			samples := scrapeChild(t, 120)
			for _, resource := range Resources {
				needed := len(want) > 0 && resource.Name == memory && !slices.Contains(want, memory)
				if got := trend(samples, resource); !got.Flat() && !needed {
					notFlat = append(notFlat, resource.Name)
				}
			}
			if !slices.Equal(notFlat, want) {
				t.Errorf("got %q, want %q", notFlat, want)
			}
		})
	}
}

// memory is the name of the first resource.
var memory = Resources[0].Name

var servingAt = regexp.MustCompile(`serving at (\S+)\n`)

// scrapeChild scrapes this test binary n times, as fast as it answers, and dates the samples
// a second apart.
func scrapeChild(t *testing.T, n int) []Sample {
	t.Helper()
	binary, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	child, err := testprogram.Start(binary, nil, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(child.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address, err := child.AwaitLog(ctx, servingAt)
	if err != nil {
		t.Fatal(err, child.LogTail())
	}
	samples := make([]Sample, n)
	for i := range samples {
		if samples[i], err = scrape(ctx, http.DefaultClient, address); err != nil {
			t.Fatal(err)
		}
		samples[i].At = time.Duration(i+1) * time.Second
	}
	return samples
}
