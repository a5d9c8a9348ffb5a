package keyadmin

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

// runRefusals runs the writer; tick returns when it has written.
func (o *fixture) runRefusals() (r *Refusals, tick, stop func()) {
	o.t.Helper()
	r = o.Refusals()
	ticks := make(chan time.Time)
	r.ticks = ticks
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				o.t.Error(err)
			}
		}
	}
	o.t.Cleanup(stop)
	// The second tick is received after the first has been processed, and writes nothing.
	return r, func() { ticks <- time.Time{}; ticks <- time.Time{} }, stop
}

func failedLogin(source, cause string) managedkey.Refusal {
	return managedkey.Refusal{Action: managedkey.RefusedLogin, Source: netip.MustParseAddr(source), Cause: cause}
}

// refused are the entries of refusals, as source, actor, cause and count.
func (o *fixture) refused() map[string]int64 {
	o.t.Helper()
	page, err := o.Audit(o.ctx(), ann, managedkey.AuditQuery{Limit: 500})
	if err != nil {
		o.t.Fatal(err)
	}
	all := map[string]int64{}
	for _, e := range page.Entries {
		all[fmt.Sprintf("%s %s %s %s", e.Action, e.Source, e.Actor, e.Cause)] += e.Count
	}
	return all
}

func (o *fixture) mustBeRefused(want map[string]int64) {
	o.t.Helper()
	got := o.refused()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		o.t.Errorf("the audit has %v, want %v", got, want)
	}
}

// TestRefusalsAreCounted: one entry for each source in a minute, however many requests
// it sends.
func TestRefusalsAreCounted(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s)
		r, tick, stop := o.runRefusals()
		for range 1000 {
			r.Note(failedLogin("192.0.2.1", "wrong"))
		}
		r.Note(failedLogin("::ffff:192.0.2.1", "wrong"))
		r.Note(failedLogin("2001:db8::1", "wrong"))
		r.Note(failedLogin("2001:db8::2", "wrong"))
		r.Note(failedLogin("2001:db8:0:1::1", "wrong"))
		expired := failedLogin("192.0.2.1", "expired")
		expired.Actor = "bob"
		r.Note(expired)
		r.Note(managedkey.Refusal{Action: managedkey.RefusedRequest, Actor: "ann", Cause: "deleteKey"})
		o.mustCount(0, 0, "before the minute has passed")
		tick()
		want := map[string]int64{
			"login_failed 192.0.2.1  wrong": 1001, "login_failed 192.0.2.1 bob expired": 1,
			"login_failed 2001:db8::/64  wrong": 2, "login_failed 2001:db8:0:1::/64  wrong": 1, "denied  ann deleteKey": 1,
		}
		o.mustBeRefused(want)
		o.mustCount(0, 5, "after a minute")
		tick()
		o.mustCount(0, 5, "after a quiet minute")
		r.Note(failedLogin("192.0.2.1", "wrong"))
		stop()
		want["login_failed 192.0.2.1  wrong"]++
		o.mustBeRefused(want)
	})
}

// TestManySourcesAreFewEntries: an attacker with many addresses does not fill the
// database, and hides no refused request of others.
func TestManySourcesAreFewEntries(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s)
		r, tick, _ := o.runRefusals()
		const sources = 5000
		for i := range sources {
			r.Note(failedLogin(fmt.Sprintf("10.0.%d.%d", i/250, i%250), "wrong"))
		}
		r.Note(managedkey.Refusal{Action: managedkey.RefusedRequest, Actor: "ann", Cause: "deleteKey"})
		tick()
		o.mustCount(0, maxRefusals+2)
		got := o.refused()
		if got["login_failed   "] != sources-maxRefusals || got["denied  ann deleteKey"] != 1 {
			t.Errorf("the audit has %v", got)
		}
	})
}

// TestRefusalsSurviveAnOutage: what the database does not take is written later.
func TestRefusalsSurviveAnOutage(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s)
		r, tick, _ := o.runRefusals()
		off := o.fail("alwaysOn", commands("insert"), code(11601))
		r.Note(failedLogin("192.0.2.1", "wrong"))
		tick()
		r.Note(failedLogin("192.0.2.1", "wrong"))
		off()
		tick()
		o.mustBeRefused(map[string]int64{"login_failed 192.0.2.1  wrong": 2})
		if n := o.logs.FilterMessageSnippet("refused requests could not be written").Len(); n == 0 {
			t.Error("the outage is not in the log")
		}
	})
}
