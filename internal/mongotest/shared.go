package mongotest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared holds the servers of a binary whose TestMain uses Main. It is the only
// package state here, because a test and its TestMain share nothing else.
var shared struct {
	sync.Mutex
	// managed: Main will stop the servers.
	managed bool
	// servers maps a starter's name to its result.
	servers map[string]outcome
	stops   []func() error
}

// outcome is the result of starting a server, which is tried once.
type outcome struct {
	server *Server
	err    error
}

// Suite runs the tests of a binary and then stops the shared servers.
type Suite struct{ m *testing.M }

// Main lets all tests of the binary share the servers of Each: a server starts when
// the first test needs it and stops after the last test. Pass the result to
// goleak.VerifyTestMain, or exit with its Run.
func Main(m *testing.M) Suite { return Suite{m} }

// Run runs the tests, stops the servers, and returns the exit code. A server that
// cannot be stopped is a failure.
func (s Suite) Run() int {
	shared.Lock()
	shared.managed = true
	shared.servers = make(map[string]outcome)
	shared.Unlock()
	code := s.m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot stop the servers of the tests:", err)
		code = max(code, 1)
	}
	return code
}

func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	var failures []error
	for _, stop := range shared.stops {
		failures = append(failures, stop())
	}
	shared.managed, shared.servers, shared.stops = false, nil, nil
	return errors.Join(failures...)
}

// cleanup stops a server that belongs to t when t ends.
func cleanup(t testing.TB, stop func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// obtain returns the shared server of st. Without Main, nothing would stop a shared
// server, so t gets its own. The lock is held while a server starts, so that
// parallel tests do not start two.
func obtain(t *testing.T, st starter) (*Server, error) {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.managed {
		s, stop, err := st.start()
		if err == nil {
			cleanup(t, stop)
		}
		return s, err
	}
	if o, known := shared.servers[st.name]; known {
		return o.server, o.err
	}
	s, stop, err := st.start()
	shared.servers[st.name] = outcome{s, err}
	if err == nil {
		shared.stops = append(shared.stops, stop)
	}
	return s, err
}
