package mongotest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
)

// lenient is a t whose skips and failures are noted.
type lenient struct {
	testing.TB
	skipped, failed string
}

func (l *lenient) Helper()                        {}
func (l *lenient) Skipf(_ string, args ...any)    { l.skipped = args[len(args)-1].(string) }
func (l *lenient) Fatalf(format string, _ ...any) { l.failed = format }

// TestANeedSkipsWithAReason, and fails where it is demanded of the external server.
func TestANeedSkipsWithAReason(t *testing.T) {
	for n, why := range needs() {
		t.Setenv(requireVariable, "")
		tb := &lenient{TB: t}
		(&Server{Name: NameExternal}).Needs(tb, n)
		if tb.skipped != why || tb.failed != "" {
			t.Errorf("%s: skipped %q, failed %q", n, tb.skipped, tb.failed)
		}
		t.Setenv(requireVariable, "external,"+string(n))
		for name, demanded := range map[string]bool{NameExternal: true, NameDevmongo: false} {
			tb = &lenient{TB: t}
			(&Server{Name: name}).Needs(tb, n)
			if (tb.failed != "") != demanded {
				t.Errorf("%s on %s, demanded: skipped %q, failed %q", n, name, tb.skipped, tb.failed)
			}
		}
		tb = &lenient{TB: t}
		(&Server{Name: NameExternal, Failpoints: true, MongoDBTokens: true, RefusesFuture: true, Views: true}).Needs(tb, n)
		if tb.skipped+tb.failed != "" {
			t.Errorf("%s: a server that has all of it: %+v", n, tb)
		}
	}
}

func TestKindsAreFoundByAsking(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		if s.Name != NameExternal && s.Kind != s.Name {
			t.Errorf("%s calls itself %s", s.Name, s.Kind)
		}
		if !slices.Contains([]string{NameDevmongo, NameSecantus, KindMongoDB}, s.Kind) {
			t.Errorf("kind %q", s.Kind)
		}
	})
}

// TestWritesOfTestsWaitForAMajority, since keytail reads what a majority has.
func TestWritesOfTestsWaitForAMajority(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		var mutex sync.Mutex
		var concern string
		watched := s.Options("").SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "insert" {
				mutex.Lock()
				defer mutex.Unlock()
				concern, _ = e.Command.Lookup("writeConcern", "w").StringValueOK()
			}
		}})
		_, err := s.Connect(t, watched).Database(s.Database(t)).Collection("some").InsertOne(testContext(t), bson.D{})
		mutex.Lock()
		defer mutex.Unlock()
		if err != nil || !strings.EqualFold(concern, "majority") {
			t.Errorf("w: %q, %v", concern, err)
		}
	})
}
