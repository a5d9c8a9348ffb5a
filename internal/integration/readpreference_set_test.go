//go:build integration

package integration

import (
	"context"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/mongotest"
)

// servedBy records which member gets each aggregate of a client: each is a stream that is opened.
type servedBy struct {
	mutex sync.Mutex
	hosts []string
}

func (s *servedBy) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName == "aggregate" {
			s.mutex.Lock()
			defer s.mutex.Unlock()
			s.hosts = append(s.hosts, mongoclient.AddressOf(e.ConnectionID))
		}
	}}
}

func (s *servedBy) last() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.hosts) == 0 {
		return ""
	}
	return s.hosts[len(s.hosts)-1]
}

// TestIntegrationASecondaryThatIsBehind serves the stream of a service until the test stops it
// from applying the oplog. The stream moves to the primary without a loss, and no answer has a
// false age, before, meanwhile, and after.
func TestIntegrationASecondaryThatIsBehind(t *testing.T) {
	set := setOf(t, 3)
	var served servedBy
	faultTest := set.startFaultTestWith(served.monitor(), readpref.SecondaryPreferred())
	before, behind := set.hello(), served.last()
	if behind == before.Primary || !slices.Contains(before.Hosts, behind) {
		t.Fatalf("the stream is served by %q of %q, the primary is %s", behind, before.Hosts, before.Primary)
	}
	node := set.node(behind)
	faultTest.during("secondary behind", func() {
		if err := tell(node, bson.D{{Key: "fsync", Value: 1}, {Key: "lock", Value: true}}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := tell(node, bson.D{{Key: "fsyncUnlock", Value: 1}}); err != nil {
				t.Error(err)
			}
		}()
		mongotest.Eventually(t, recovery, func() bool { return served.last() == before.Primary }, "the stream does not move to the primary")
		faultTest.untilAnswers(2000)
	})
	if losses := faultTest.metric("keytail_losses_total"); losses != 0 {
		t.Errorf("%v losses: the stream can be resumed on the primary", losses)
	}
	faultTest.finish()
}
