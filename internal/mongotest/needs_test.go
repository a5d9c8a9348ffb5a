package mongotest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/keytail/keytail/internal/testprogram"
)

// recorder is a testing.TB that records skips and failures.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()                        {}
func (r *recorder) Skipf(_ string, args ...any)    { r.skipped = args[len(args)-1].(string) }
func (r *recorder) Fatalf(format string, _ ...any) { r.failed = format }

func TestMissingFeatureSkipsUnlessItIsRequired(t *testing.T) {
	for n, why := range needs() {
		t.Setenv(testprogram.RequireVariable, "")
		tb := &recorder{TB: t}
		(&Server{Name: NameExternal}).Needs(tb, n)
		if tb.skipped != why || tb.failed != "" {
			t.Errorf("%s: skipped %q, failed %q", n, tb.skipped, tb.failed)
		}
		t.Setenv(testprogram.RequireVariable, "external,"+string(n))
		for name, required := range map[string]bool{NameExternal: true, NameDevmongo: false} {
			tb = &recorder{TB: t}
			(&Server{Name: name}).Needs(tb, n)
			if (tb.failed != "") != required {
				t.Errorf("%s on %s, required: skipped %q, failed %q", n, name, tb.skipped, tb.failed)
			}
		}
		tb = &recorder{TB: t}
		(&Server{Name: NameExternal, Failpoints: true, MongoDBTokens: true, RefusesFuture: true, Views: true}).Needs(tb, n)
		if tb.skipped+tb.failed != "" {
			t.Errorf("%s: a server with all features: %+v", n, tb)
		}
	}
}

func TestServersIdentifyThemselves(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		if s.Name != NameExternal && s.Kind != s.Name {
			t.Errorf("%s identifies itself as %s", s.Name, s.Kind)
		}
		if !slices.Contains([]string{NameDevmongo, NameSecantus, KindMongoDB}, s.Kind) {
			t.Errorf("kind %q", s.Kind)
		}
	})
}

// keytail reads with read concern majority, so the writes of tests must wait for one.
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
