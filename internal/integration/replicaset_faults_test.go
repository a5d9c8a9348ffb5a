//go:build integration && unix

package integration

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestIntegrationStepDown repeatedly makes the primary step down. The member of a set of
// one steps down, too, and elects itself again.
func TestIntegrationStepDown(t *testing.T) {
	const stepDowns = 3
	set := setOf(t, 1)
	faultTest := set.startFaultTest()
	for range stepDowns {
		before := set.hello()
		alone := len(before.Hosts) == 1
		faultTest.during("step-down", func() {
			err := tell(set.admin, bson.D{
				{Key: "replSetStepDown", Value: 6},
				// A secondary of a busy set has this long to have all writes, or the primary refuses.
				{Key: "secondaryCatchUpPeriodSecs", Value: 5},
				// Without force a primary that no member can succeed refuses to step down.
				{Key: "force", Value: alone},
			})
			if err != nil {
				t.Fatal(err)
			}
			if !alone {
				mongotest.Eventually(t, electionTimeout, func() bool { return set.hello().Primary != before.Primary },
					"no other member is elected")
			}
		})
	}
	faultTest.finish()
}

// TestIntegrationPausedNodeByCommand holds the primary's global lock for longer
// than max_stale: it answers only the set's heartbeats, so that the set elects no other
// primary.
func TestIntegrationPausedNodeByCommand(t *testing.T) {
	set := setOf(t, 1)
	hold := func(d time.Duration) error {
		return tell(set.node(set.hello().Primary), bson.D{
			{Key: "sleep", Value: 1}, {Key: "lock", Value: "w"}, {Key: "millis", Value: d.Milliseconds()},
		})
	}
	if err := hold(time.Millisecond); refused(err) {
		t.Skipf("the server has no command that holds it up (mongod has, with --setParameter enableTestCommands=1): %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	faultTest := set.startFaultTest()
	faultTest.during("a primary whose lock is held", func() {
		if err := hold(4 * shortMaxStale); err != nil {
			t.Fatal(err)
		}
	})
	faultTest.finish()
}

// TestIntegrationPausedNodeBySignal stops the primary's process: its connections stay open
// without answers, and a set of several members elects another primary meanwhile. When
// the process continues, it still regards itself as the primary for a moment.
func TestIntegrationPausedNodeBySignal(t *testing.T) {
	list := allowed(t, pidsVariable, "which processes the nodes are is not known, so none can be stopped")
	var pids []int
	for text := range strings.SplitSeq(list, ",") {
		pid, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || pid <= 1 {
			t.Fatalf("%s: got %q in the list, want process ids", pidsVariable, text)
		}
		pids = append(pids, pid)
	}
	set := setOf(t, 1)
	before := set.hello()
	pid := pids[0]
	if len(before.Hosts) > 1 {
		pid = processOf(t, set, before.Primary)
	}
	if !slices.Contains(pids, pid) {
		t.Fatalf("the primary %s reports process %d, which is not in %s", before.Primary, pid, pidsVariable)
	}
	faultTest := set.startFaultTest()
	faultTest.during("a primary that is stopped", func() {
		proceed := pauseNode(t, pid)
		if len(before.Hosts) > 1 {
			mongotest.Eventually(t, electionTimeout, func() bool { return set.hello().Primary != before.Primary }, "no other member is elected")
		} else {
			mongotest.Eventually(t, electionTimeout, func() bool { return faultTest.state() == "down" }, "the state does not become down")
		}
		proceed()
	})
	faultTest.finish()
}

// pauseNode stops a process until proceed is called or the test ends.
func pauseNode(t *testing.T, pid int) (proceed func()) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	proceed = sync.OnceFunc(func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Errorf("cannot continue process %d: %v", pid, err)
		}
	})
	t.Cleanup(proceed)
	return proceed
}

// processOf asks a node for its process id.
func processOf(t *testing.T, set *replicaSet, host string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	var status struct {
		PID int `bson:"pid"`
	}
	if err := set.node(host).RunCommand(ctx, bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return status.PID
}

// TestIntegrationMajorityLostAndBack keeps the secondaries from replicating. The
// primary stays primary, because they answer its heartbeats, but no write is
// acknowledged by a majority: in this state an answer from the primary may be rolled
// back. The test does not shut secondaries down, because a supervisor would restart them
// too early or not at all.
func TestIntegrationMajorityLostAndBack(t *testing.T) {
	set := setOf(t, 3)
	faultTest := set.startFaultTest()
	valid := faultTest.newKey()
	faultTest.waitForCode(valid, apikey.Valid)
	before := set.hello()
	var mends []func()
	mend := sync.OnceFunc(func() {
		for _, f := range mends {
			f()
		}
	})
	t.Cleanup(mend)
	faultTest.during("no majority", func() {
		for _, host := range before.Hosts {
			if host == before.Primary {
				continue
			}
			node := set.node(host)
			point := func(mode string) error {
				return tell(node, bson.D{{Key: "configureFailPoint", Value: "stopReplProducer"}, {Key: "mode", Value: mode}})
			}
			mends = append(mends, func() {
				if err := point("off"); err != nil {
					t.Errorf("%s does not replicate: %v", host, err)
				}
			})
			if err := point("alwaysOn"); refused(err) {
				t.Skipf("%s cannot be kept from replicating (mongod can, with --setParameter enableTestCommands=1): %v", host, err)
			} else if err != nil {
				t.Fatal(err)
			}
		}
		faultTest.outage(valid)
		mend()
	})
	faultTest.waitForCode(valid, apikey.Valid)
	faultTest.finish()
}

// outage waits until a valid key is UNAVAILABLE, and checks that no other answer refuses
// it: an outage is not a refusal.
func (s *faultTest) outage(valid key) {
	s.t.Helper()
	seen := map[int]int{}
	mongotest.Eventually(s.t, electionTimeout, func() bool {
		code, header := s.auth(valid.text)
		seen[code]++
		if code == http.StatusServiceUnavailable && header.Get("Retry-After") == "" {
			s.t.Error("503 without Retry-After")
		}
		return code == http.StatusServiceUnavailable && s.state() == "down"
	}, "the verdict did not become UNAVAILABLE")
	for code := range seen {
		if code != http.StatusOK && code != http.StatusServiceUnavailable {
			s.t.Errorf("during an outage: got status %d, %d times", code, seen[code])
		}
	}
}

// TestIntegrationRollingRestartOfTheSet shuts every member down, the primary last, and
// waits until each has restarted.
func TestIntegrationRollingRestartOfTheSet(t *testing.T) {
	allowed(t, restartsVariable, "nothing may bring a node back that is shut down")
	set := setOf(t, 3)
	faultTest := set.startFaultTest()
	for _, host := range primaryLast(set.hello()) {
		faultTest.during("restart of "+host, func() {
			set.restart(host)
			set.hello()
		})
	}
	faultTest.finish()
}
