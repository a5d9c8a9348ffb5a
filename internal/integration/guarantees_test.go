package integration

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// One test for each guarantee of docs/guarantees.md. Guarantee 3, never a stale set, is
// TestNeverAStaleSet and the model of package keycache.

// TestPromiseBoundedAndReported covers guarantees 1 and 2: without a change stream, a revoked
// key is accepted for max_stale at most, and only by answers whose staleness reaches back
// before the revocation.
func TestPromiseBoundedAndReported(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, withShortMaxStale)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		failures := r.metric("keytail_stream_failures_total")
		mend := r.failCommands("getMore", "aggregate")
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_stream_failures_total") > failures }, "the stream did not fail")
		sent := time.Now()
		r.set(k, "is_active", false)
		acknowledged := time.Now()
		accepted := 0
		for deadline := time.Now().Add(testkit.WaitTimeout); ; {
			asked := time.Now()
			v := r.validate(k)
			if v.Code == apikey.Disabled {
				break
			}
			if v.Code == apikey.Valid {
				accepted++
				if asked.Sub(acknowledged) > shortMaxStale {
					t.Fatalf("accepted %v after the revocation was acknowledged", asked.Sub(acknowledged))
				}
				if v.AsOf.After(acknowledged) {
					t.Fatalf("accepted as of %v after the revocation was acknowledged", v.AsOf.Sub(acknowledged))
				}
			}
			if time.Now().After(deadline) {
				t.Fatal("the revoked key was never refused")
			}
		}
		t.Logf("accepted %d times, refused %v after the revocation was sent", accepted, time.Since(sent))
		mend()
		r.waitForState("live")
		r.waitForCode(k, apikey.Disabled)
	})
}

// TestPromiseNoUnannouncedWriter is guarantee 4: here with a migration that names no
// single key. TestAChangeByAnotherClientTakesEffect tests every kind of change.
func TestPromiseNoUnannouncedWriter(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		many := bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}}
		if _, err := r.keys.UpdateMany(t.Context(), bson.D{{Key: "user_id", Value: "user-1"}}, many); err != nil {
			t.Fatal(err)
		}
		r.waitForCode(k, apikey.Disabled)
	})
}

// TestPromiseAGapIsNeverSilent is guarantee 5: a change without a stream takes effect
// when there is a stream again, whether it resumed or lost its history.
func TestPromiseAGapIsNeverSilent(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		for _, code := range []int{11601, 286} { // Interrupted, ChangeStreamHistoryLost
			k := r.newKey()
			r.waitForCode(k, apikey.Valid)
			r.waitUntilCached(k)
			s.Needs(t, mongotest.Failpoints)
			failures := r.metric("keytail_stream_failures_total") + r.metric("keytail_losses_total")
			mend := r.failpoint("alwaysOn", bson.D{
				{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}},
				{Key: "errorCode", Value: code},
				{Key: "appName", Value: r.appName},
			})
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
				return r.metric("keytail_stream_failures_total")+r.metric("keytail_losses_total") > failures
			}, "the stream did not fail")
			r.set(k, "is_active", false)
			mend()
			r.waitForCode(k, apikey.Disabled)
			r.waitForState("live")
		}
	})
}

// TestPromiseAnOutageIsNotARefusal is guarantee 6, over HTTP.
func TestPromiseAnOutageIsNotARefusal(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, withShortMaxStale)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		mend := r.failCommands("getMore", "aggregate", "find", "update", "findAndModify")
		seen := map[int]int{}
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			code, header := r.auth(k.text)
			seen[code]++
			if code == http.StatusServiceUnavailable && header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			return code == http.StatusServiceUnavailable && r.state() == "down"
		}, "the verdict did not become UNAVAILABLE")
		for code := range seen {
			if code != http.StatusOK && code != http.StatusServiceUnavailable {
				t.Errorf("during an outage: got status %d", code)
			}
		}
		mend()
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			code, _ := r.auth(k.text)
			return code == http.StatusOK
		}, "the outage did not end")
	})
}

func (r *fixture) auth(text string) (int, http.Header) {
	request := httptest.NewRequestWithContext(r.t.Context(), http.MethodGet, "/v1/auth", nil)
	request.Header.Set("Authorization", "Bearer "+text)
	recorder := httptest.NewRecorder()
	r.Public().ServeHTTP(recorder, request)
	return recorder.Code, recorder.Header()
}

// TestPromiseExactExpiry is guarantee 7: no answer at or after expires_at is VALID, and
// no answer before it is EXPIRED.
func TestPromiseExactExpiry(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		// A BSON date has milliseconds.
		lifetime := r.lifetime()
		expires := time.Now().Add(lifetime).Truncate(time.Millisecond)
		k := r.newKey(bson.E{Key: "expires_at", Value: expires})
		valid := 0
		for {
			asked := time.Now()
			v := r.validate(k)
			given := time.Now()
			if v.Code == apikey.Valid {
				valid++
				if !asked.Before(expires) {
					t.Fatalf("VALID %v after it expired", asked.Sub(expires))
				}
			}
			if v.Code == apikey.Expired {
				if given.Before(expires) {
					t.Fatalf("EXPIRED %v before it expired", expires.Sub(given))
				}
				break
			}
		}
		if valid == 0 {
			t.Fatal("the key was never VALID, so the test proves nothing")
		}
	})
}

// TestPromiseUnknownKeysCostNothing is guarantee 8: unknown keys cost nothing.
func TestPromiseUnknownKeysCostNothing(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_complete") == 1 }, "the cache did not become complete")
		reads, bytes := r.metric("keytail_reads_total"), r.metric("keytail_cache_bytes")
		for i := range 2000 {
			unknown := key{id: "unknown", text: fmt.Sprint("unknown-key-", i)}
			if v := r.validate(unknown); v.Code != apikey.NotFound || v.Source != apikey.SourceCache {
				t.Fatalf("got %v from %v", v.Code, v.Source)
			}
		}
		if got := r.metric("keytail_reads_total"); got != reads {
			t.Errorf("got %v reads for 2000 unknown keys, want 0", got-reads)
		}
		if got := r.metric("keytail_cache_bytes"); got != bytes {
			t.Errorf("got %v more bytes for 2000 unknown keys, want 0", got-bytes)
		}
	})
}

// TestPromiseWriteAcknowledgements is one part of guarantee 9: with the revision of a write as
// min_revision, any instance answers with that write at once.
func TestPromiseWriteAcknowledgements(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		other := r.run(prometheus.NewRegistry(), zap.NewNop())
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		for range 20 {
			for _, active := range []bool{false, true} {
				revision := r.setWithRevision(k, active)
				want := apikey.Disabled
				if active {
					want = apikey.Valid
				}
				for name, service := range map[string]testkit.Daemon{"this": r.Daemon, "other": other} {
					v := service.Validate(t.Context(), k.text, &apikey.Request{MinRevision: uint64(revision)})
					if v.Code != want || v.Revision < uint64(revision) {
						t.Fatalf("%s instance: got %v at revision %v, want %v at %v", name, v.Code, clustertime.Time(v.Revision), want, revision)
					}
				}
			}
		}
	})
}

func (r *fixture) setWithRevision(k key, active bool) clustertime.Time {
	r.t.Helper()
	session, err := r.db.Client().StartSession()
	if err != nil {
		r.t.Fatal(err)
	}
	defer session.EndSession(context.Background())
	ctx := mongo.NewSessionContext(r.t.Context(), session)
	change := bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: active}}}}
	if _, err := r.keys.UpdateByID(ctx, k.id, change); err != nil {
		r.t.Fatal(err)
	}
	at := session.OperationTime()
	return clustertime.New(at.T, at.I)
}

// written is the output of a logger, which a test reads concurrently.
type written struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (w *written) Write(text []byte) (int, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.buffer.Write(text)
}

func (w *written) String() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.buffer.String()
}

// TestPromiseNothingOfTheKeyIsKept is guarantee 10: neither a key nor its hash is
// in a log line of any level, a metric, an answer or the heartbeat.
func TestPromiseNothingOfTheKeyIsKept(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		var logs written
		registry := prometheus.NewRegistry()
		encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
		core := zapcore.NewCore(encoder, zapcore.AddSync(&logs), zapcore.DebugLevel)
		service := r.run(registry, zap.New(core))
		keys := []key{r.newKey(), r.newKey(bson.E{Key: "expires_at", Value: "not a date"}), {text: "an-unknown-key-of-another-maker"}, {text: "kt_broken"}}
		var answers bytes.Buffer
		for _, k := range keys {
			for _, request := range []*http.Request{
				httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/auth", nil),
				httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/keys/verify", strings.NewReader(fmt.Sprintf(`{"key":%q}`, k.text))),
			} {
				request.Header.Set("X-API-Key", k.text)
				request.Header.Set("Content-Type", "application/json")
				recorder := httptest.NewRecorder()
				service.Public().ServeHTTP(recorder, request)
				fmt.Fprint(&answers, recorder.Header(), recorder.Body)
			}
		}
		r.waitForCode(keys[0], apikey.Valid)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := r.db.Collection("keytail_heartbeats").Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		var heartbeats []bson.D
		if err := cursor.All(t.Context(), &heartbeats); err != nil {
			t.Fatal(err)
		}
		if logs.String() == "" || len(families) == 0 || len(heartbeats) == 0 {
			t.Fatal("got no output to search")
		}
		for name, text := range map[string]string{
			"logs": logs.String(), "metrics": fmt.Sprint(families), "answers": answers.String(), "heartbeats": fmt.Sprint(heartbeats),
		} {
			for _, k := range keys {
				for _, secret := range []string{k.text, apikey.HashOf(k.text).Hex()} {
					if strings.Contains(text, secret) {
						t.Errorf("a key or its hash is in the %s", name)
					}
				}
			}
		}
	})
}
