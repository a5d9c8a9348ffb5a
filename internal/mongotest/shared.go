package mongotest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared holds the servers of a binary whose TestMain uses Main. It is the one
// piece of package state here: a test and its TestMain have no other way to
// meet.
var shared struct {
	sync.Mutex
	// managed: Main is there to end the servers.
	managed bool
	// servers maps a starter's name to what became of it.
	servers map[string]outcome
	stops   []func() error
}

// outcome is what starting a server gave; it is asked for once.
type outcome struct {
	server *Server
	err    error
}

// Suite is a test binary's m with the shared servers' end after it.
type Suite struct{ m *testing.M }

// Main makes the servers of Each shared by all tests of the binary: started
// when first needed, ended when the last test has run. Give it to
// goleak.VerifyTestMain, or exit with its Run.
func Main(m *testing.M) Suite { return Suite{m} }

// Run runs the tests, ends the servers, and returns the exit code: a failure
// when a server did not end well.
func (s Suite) Run() int {
	shared.Lock()
	shared.managed = true
	shared.servers = make(map[string]outcome)
	shared.Unlock()
	code := s.m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "ending the servers of the tests:", err)
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

// cleanup stops a server of t's own when t ends.
func cleanup(t testing.TB, stop func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// obtain gives the shared server of st, or one of t's own when nobody would end
// a shared one. The lock is held while a server starts, so that parallel tests
// do not start two.
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
