package integration

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// endings are changes of a key by another client, and the cause of the cancellation.
var endings = map[string]struct {
	do   func(r *fixture, k key)
	code auth.Code
}{
	"revoked": {func(r *fixture, k key) { r.set(k, "is_active", false) }, auth.Disabled},
	"deleted": {func(r *fixture, k key) {
		if _, err := r.keys.DeleteOne(r.t.Context(), bson.D{{Key: "_id", Value: k.id}}); err != nil {
			r.t.Fatal(err)
		}
	}, auth.NotFound},
	"expires":         {func(r *fixture, k key) { r.set(k, "expires_at", time.Now().Add(300*time.Millisecond)) }, auth.Expired},
	"loses its scope": {func(r *fixture, k key) { r.set(k, "scopes", bson.A{"write"}) }, auth.InsufficientPermissions},
}

func TestOpenRequestsEndWhenTheKeyIsRevoked(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		for _, framework := range frameworks {
			e := r.embed(framework)
			for kind, open := range e.openers() {
				for ending, c := range endings {
					name := fmt.Sprint(framework, ", a ", kind, " whose key ", ending)
					k := r.newValidKey()
					cut := open(k)
					// A change after which the key is still valid ends nothing, nor does a later expiry.
					r.update(k, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "renamed"}, {Key: "expires_at", Value: time.Now().Add(time.Hour)}}}})
					r.catchUp()
					cut.mustNotHappen(t, name)
					c.do(r.fixture, k)
					cut.mustHappen(t, name)
					if kind != "stream" {
						continue
					}
					var revoked *auth.RevokedError
					if cause := <-e.causes; !errors.As(cause, &revoked) || revoked.Code != c.code {
						t.Errorf("%s: got cause %v", name, cause)
					}
				}
			}
		}
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.watcher.open.Load() == 0 }, "watches are left")
	})
}

// TestAStreamEndsAtItsFirstExpiry: at the expiry that the key had when the stream began,
// without an event.
func TestAStreamEndsAtItsFirstExpiry(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin")
		lifetime := r.lifetime()
		expires := time.Now().Add(lifetime).Truncate(time.Millisecond)
		k := r.newValidKey(bson.E{Key: "expires_at", Value: expires})
		at := e.openStream(k).mustHappen(t, "an expired key")
		if late := at.Sub(expires); late < 0 {
			t.Errorf("ended %v before the expiry", -late)
		} else {
			t.Logf("ended %v after its expiry", late)
		}
	})
}

// TestDelayOfCancelOnRevocation measures the time from the acknowledged write of another
// client to the end of the request at the API's client.
func TestDelayOfCancelOnRevocation(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin")
		for kind, open := range e.openers() {
			const count = 50
			var cuts []end
			var keys []key
			for range count {
				k := r.newValidKey()
				keys, cuts = append(keys, k), append(cuts, open(k))
			}
			r.catchUp()
			var delays []time.Duration
			for i, k := range keys {
				r.set(k, "is_active", false)
				acknowledged := time.Now()
				delays = append(delays, max(0, cuts[i].mustHappen(t, kind).Sub(acknowledged)))
			}
			slices.Sort(delays)
			t.Logf("a %s ends %v (median), %v (maximum of %d) after the acknowledged write", kind, delays[count/2], delays[count-1], count)
			if delays[count-1] > 15*time.Second {
				t.Error("the maximum delay exceeds max_stale")
			}
		}
	})
}

// TestAnOutageEndsOnlyRequestsWithCancelOnOutage: only after max_stale has passed.
func TestAnOutageEndsOnlyRequestsWithCancelOnOutage(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		keep, lose := r.embed("gin"), r.embed("net/http", auth.CancelOnOutage())
		k := r.newValidKey()
		kept, keptSocket, lost, lostSocket := keep.openStream(k), keep.openSocket(k), lose.openStream(k), lose.openSocket(k)
		mend := r.failCommands("getMore", "aggregate", "find", "update", "findAndModify")
		began := time.Now()
		at := lost.mustHappen(t, "a stream during an outage")
		lostSocket.mustHappen(t, "a socket during an outage")
		if cause := <-lose.causes; !errors.Is(cause, auth.ErrStalenessExceeded) {
			t.Errorf("cause: got %v", cause)
		}
		// The last round trip may be one heartbeat interval older than the outage.
		if after := at.Sub(began); after < shortMaxStale-500*time.Millisecond {
			t.Errorf("ended after %v, want at least max_stale (%v)", after, shortMaxStale)
		} else {
			t.Logf("ended %v after the outage began; max_stale is %v", after, shortMaxStale)
		}
		if answer := lose.get("/whoami", k.text); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("got status %d", answer.StatusCode)
		}
		kept.mustNotHappen(t, "a stream without CancelOnOutage")
		keptSocket.mustNotHappen(t, "a socket without CancelOnOutage")
		mend()
		r.waitForState("live")
		r.catchUp()
		kept.mustNotHappen(t, "a stream after the outage")
		keptSocket.mustNotHappen(t, "a socket after the outage")
		r.set(k, "is_active", false)
		kept.mustHappen(t, "a revoked key after the outage")
		keptSocket.mustHappen(t, "a revoked key after the outage")
	})
}

// TestAFailedRecheckEndsNothing while the change stream is fresh: the recheck is
// repeated until it succeeds.
func TestAFailedRecheckEndsNothing(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin", auth.CancelOnOutage())
		k, gone := r.newValidKey(), r.newValidKey()
		kept, cut := e.openStream(k), e.openStream(gone)
		failed := func() float64 { return r.metric("keytail_verdicts_total", "UNAVAILABLE") }
		before := failed()
		mend := r.failCommands("find")
		r.set(k, "name", "renamed")
		r.set(gone, "is_active", false)
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return failed() > before+3 }, "no key is read")
		kept.mustNotHappen(t, "a key that cannot be read now")
		cut.mustNotHappen(t, "another one")
		mend()
		cut.mustHappen(t, "a revoked key that can be read again")
		r.catchUp()
		kept.mustNotHappen(t, "a renamed key")
	})
}

// TestASilentServerEndsOnlyRequestsWithCancelOnOutage: the server reports no error.
func TestASilentServerEndsOnlyRequestsWithCancelOnOutage(t *testing.T) {
	for _, scope := range testkit.Scopes {
		for name, stage := range map[string]func(node *devmongo.Server, service string) (heal func()){
			"frozen":      func(node *devmongo.Server, service string) func() { node.Freeze(service); return node.Heal },
			"no majority": func(node *devmongo.Server, _ string) func() { node.HoldMajority(); return node.ReleaseMajority },
		} {
			t.Run(scope+" "+name, func(t *testing.T) {
				d := mongotest.StartDevmongo(t, devmongo.Config{})
				r := startEmbedded(t, d.InScope(scope), shortMaxStale)
				keep, lose := r.embed("net/http"), r.embed("gin", auth.CancelOnOutage())
				k := r.newValidKey()
				kept, lost := keep.openSocket(k), lose.openStream(k)
				began := time.Now()
				heal := stage(d.Node, r.appName)
				at := lost.mustHappen(t, "a stream during an outage")
				if cause := <-lose.causes; !errors.Is(cause, auth.ErrStalenessExceeded) {
					t.Errorf("cause: got %v", cause)
				}
				t.Logf("ended %v after the silence began; max_stale is %v, plus the wait for the last read", at.Sub(began), shortMaxStale)
				kept.mustNotHappen(t, "a socket without CancelOnOutage")
				heal()
				r.waitForState("live")
				r.catchUp()
				kept.mustNotHappen(t, "a socket after the outage")
				r.set(k, "is_active", false)
				kept.mustHappen(t, "a revoked key after the outage")
			})
		}
	}
}

// TestARevocationWithoutAChangeStreamEndsOpenRequests with CancelOnOutage: rechecks read
// the database.
func TestARevocationWithoutAChangeStreamEndsOpenRequests(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		e := r.embed("gin", auth.CancelOnOutage())
		k, other := r.newValidKey(), r.newValidKey()
		cut, kept := e.openStream(k), e.openStream(other)
		defer r.failCommands("getMore", "aggregate", "update", "findAndModify")()
		r.waitForState("stale")
		r.set(k, "is_active", false)
		acknowledged := time.Now()
		at := cut.mustHappen(t, "a revoked key")
		t.Logf("ended %v after the write, without a change stream", at.Sub(acknowledged))
		var revoked *auth.RevokedError
		if cause := <-e.causes; !errors.As(cause, &revoked) || revoked.Code != auth.Disabled {
			t.Errorf("cause: got %v", cause)
		}
		kept.mustNotHappen(t, "a key that the database calls valid")
	})
}

// TestAChangeDuringALossEndsOpenRequests: the new stream has no event for it.
func TestAChangeDuringALossEndsOpenRequests(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin")
		k, other := r.newValidKey(), r.newValidKey()
		cut, kept := e.openSocket(k), e.openSocket(other)
		s.Needs(t, mongotest.Failpoints)
		losses := r.metric("keytail_losses_total")
		mend := r.failpoint("alwaysOn", bson.D{
			{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}},
			{Key: "errorCode", Value: 286}, // ChangeStreamHistoryLost
			{Key: "appName", Value: r.appName},
		})
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_losses_total") > losses }, "history is not lost")
		r.set(k, "is_active", false)
		mend()
		cut.mustHappen(t, "a key that was revoked during the loss")
		r.waitForState("live")
		r.catchUp()
		kept.mustNotHappen(t, "a key that is still valid")
	})
}

func TestTheMiddlewareFollowsTheHTTPContract(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		good, lacking := r.newValidKey(), r.newValidKey()
		r.set(lacking, "scopes", bson.A{"write"})
		unknown := r.newKey()
		if _, err := r.keys.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: unknown.id}}); err != nil {
			t.Fatal(err)
		}
		cases := []struct {
			text   string
			status int
			code   auth.Code
		}{
			{"", 401, auth.Missing},
			{"not a key", 401, auth.Malformed},
			{unknown.text, 401, auth.NotFound},
			{r.newKey(bson.E{Key: "is_active", Value: false}).text, 401, auth.Disabled},
			{r.newKey(bson.E{Key: "expires_at", Value: time.Now().Add(-time.Hour)}).text, 401, auth.Expired},
			{r.newKey(bson.E{Key: "allowed_ips", Value: bson.A{"192.0.2.1"}}).text, 403, auth.Forbidden},
			{lacking.text, 403, auth.InsufficientPermissions},
			{good.text, 200, ""},
		}
		r.catchUp()
		for _, framework := range frameworks {
			e := r.embed(framework)
			for _, c := range cases {
				answer := e.get("/whoami", c.text)
				body, _ := io.ReadAll(answer.Body)
				if answer.StatusCode != c.status || c.code != "" && !strings.Contains(string(body), `"code":"`+string(c.code)+`"`) {
					t.Errorf("%s: %d %s, want %d %s", framework, answer.StatusCode, body, c.status, c.code)
				}
				if c.code == "" && string(body) != "key "+good.id+" of user user-1" {
					t.Errorf("%s: got body %s", framework, body)
				}
			}
		}
		mend := r.failCommands("getMore", "aggregate", "find", "update", "findAndModify")
		defer mend()
		e := r.embed("gin")
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			answer := e.get("/whoami", good.text)
			outage := answer.StatusCode == http.StatusServiceUnavailable
			if !outage && answer.StatusCode != http.StatusOK || outage && answer.Header.Get("Retry-After") != "1" {
				t.Errorf("outage: got %d %v", answer.StatusCode, answer.Header)
			}
			return outage
		}, "the verdict did not become UNAVAILABLE")
	})
}
