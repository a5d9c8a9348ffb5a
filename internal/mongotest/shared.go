package mongotest

import (
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
	stops   []func()
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

// Run runs the tests, ends the servers, and returns the exit code.
func (s Suite) Run() int {
	shared.Lock()
	shared.managed = true
	shared.servers = make(map[string]outcome)
	shared.Unlock()
	defer stopShared()
	return s.m.Run()
}

func stopShared() {
	shared.Lock()
	defer shared.Unlock()
	for _, stop := range shared.stops {
		stop()
	}
	shared.managed, shared.servers, shared.stops = false, nil, nil
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
			t.Cleanup(stop)
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
