package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/alloctest"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// used returns a key's usage_count, and whether it has last_used.
func (r *fixture) used(k key) (count int64, timed bool) {
	r.t.Helper()
	var d bson.Raw
	if err := r.keys.FindOne(r.t.Context(), bson.D{{Key: "_id", Value: k.id}}).Decode(&d); err != nil {
		r.t.Fatal(err)
	}
	count, _ = d.Lookup("usage_count").AsInt64OK()
	_, timed = d.Lookup("last_used").DateTimeOK()
	return count, timed
}

func (r *fixture) flushUsage() {
	r.t.Helper()
	if err := r.FlushUsage(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// TestWritingUsageInvalidatesNothing: the server filters out the events of these writes,
// and hits stay hits.
func TestWritingUsageInvalidatesNothing(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		keys := []key{r.newKey(), r.newKey(), r.newKey()}
		marker := r.newKey()
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_changes_total") == 4 }, "the inserts are not applied")
		for _, k := range append(keys, marker) {
			r.waitUntilCached(k)
		}
		r.flushUsage()
		before, _ := r.used(keys[0])
		for range 5 {
			for _, k := range keys {
				r.waitForCode(k, apikey.Valid)
			}
			r.flushUsage()
		}
		// The marker's change comes after the uses in the stream.
		r.set(marker, "is_active", false)
		r.waitForCode(marker, apikey.Disabled)
		if got := r.metric("keytail_changes_total"); got != 5 {
			t.Errorf("got %v applied changes, want the four inserts and the marker's", got)
		}
		if got := r.metric("keytail_stream_events_total", "update"); got != 1 {
			t.Errorf("got %v updates over the wire, want the marker's", got)
		}
		for _, k := range keys {
			if v := r.validate(k); v.Source != apikey.SourceCache {
				t.Errorf("%s: got source %v", k.id, v.Source)
			}
		}
		if count, timed := r.used(keys[0]); count != before+5 || !timed {
			t.Errorf("usage_count: got %d, last_used present: %v; want %d", count, timed, before+5)
		}
	})
}

// TestReadyzReportsThatUsageIsNotWritten: readyz still returns 200, because no answer
// depends on usage.
func TestReadyzReportsThatUsageIsNotWritten(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		// The service also flushes at its interval, so each check may be one flush late.
		eventually := func(what string, validate bool, flush bool) {
			t.Helper()
			pattern := regexp.MustCompile(what)
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
				if validate {
					r.waitForCode(k, apikey.Valid)
				}
				if flush {
					_ = r.FlushUsage(t.Context())
				}
				return pattern.MatchString(r.usageInReadyz())
			}, "readyz does not report ", what)
		}
		eventually(`^{"pending_keys":1,"batch_size":1000,"failing_ms":null}$`, true, false)
		mend := r.failpoint("alwaysOn", bson.D{
			{Key: "failCommands", Value: bson.A{"update"}}, {Key: "errorCode", Value: 13}, {Key: "appName", Value: r.appName},
		})
		eventually(`^{"pending_keys":1,"batch_size":1000,"failing_ms":\d+}$`, true, true)
		mend()
		eventually(`^{"pending_keys":0,"batch_size":1000,"failing_ms":null}$`, false, true)
	})
}

func (r *fixture) usageInReadyz() string {
	r.t.Helper()
	r.server.Needs(r.t, mongotest.Failpoints)
	recorder := httptest.NewRecorder()
	r.Operations().ServeHTTP(recorder, httptest.NewRequestWithContext(r.t.Context(), http.MethodGet, "/readyz?strict=1", nil))
	var body struct{ Usage json.RawMessage }
	if err := json.Unmarshal(recorder.Body.Bytes(), &body); err != nil || recorder.Code != http.StatusOK {
		r.t.Fatalf("readyz: got %d %s, %v", recorder.Code, recorder.Body, err)
	}
	return string(body.Usage)
}

// TestUsageIsWrittenBeforeTheTailStops: a change during the last write of usage still
// takes effect.
func TestUsageIsWrittenBeforeTheTailStops(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := &fixture{t: t, server: s, registry: prometheus.NewRegistry()}
		database := s.Database(t)
		r.db = s.Client(t, "other-client").Database(database)
		r.keys = mongotest.CreateAPIKeys(t, r.db)
		flushing, release := make(chan struct{}), make(chan struct{})
		client := s.Connect(t, s.Options("").SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "update" && e.Command.Lookup("update").StringValue() == "api_keys" && e.Command.Lookup("ordered").Boolean() == false {
				close(flushing)
				<-release
			}
		}}))
		d, err := daemon.New(t.Context(), daemon.Config{
			Config:   service.Config{Client: client, Database: database, CacheSizeMiB: 8},
			Registry: r.registry,
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Daemon = testkit.Daemon{Daemon: d}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		letGo := sync.OnceFunc(func() { close(release) })
		defer func() {
			stop()
			letGo()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-d.Live():
		case <-time.After(testkit.WaitTimeout):
			t.Fatal("the service did not become live")
		}
		k, other := r.newKey(), r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitForCode(other, apikey.Valid)
		stop()
		select {
		case <-flushing:
		case <-time.After(testkit.WaitTimeout):
			t.Fatal("the last uses were not written")
		}
		r.set(other, "is_active", false)
		r.waitForCode(other, apikey.Disabled)
		letGo()
		if err := <-done; err != nil {
			t.Error(err)
		}
		done <- nil
		if count, timed := r.used(k); count == 0 || !timed {
			t.Errorf("usage_count: got %d, last_used present: %v", count, timed)
		}
	})
}

// TestUsageIsOffWithoutThePrivilege: one log line reports it. Only devmongo and MongoDB
// limit a failpoint to a collection.
func TestUsageIsOffWithoutThePrivilege(t *testing.T) {
	r := start(t, &mongotest.StartDevmongo(t, devmongo.Config{}).Server)
	r.failpoint("alwaysOn", bson.D{
		{Key: "failCommands", Value: bson.A{"update"}},
		{Key: "namespace", Value: r.db.Name() + ".api_keys"},
		{Key: "errorCode", Value: 13},
		{Key: "appName", Value: r.appName},
	})
	core, logs := observer.New(zap.WarnLevel)
	second := r.run(prometheus.NewRegistry(), zap.New(core))
	if second.TracksUsage() {
		t.Error("usage is on, want off")
	}
	warnings := logs.FilterMessage("the usage of keys is not written").All()
	if len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings[0].ContextMap()["error"]), "grant the user of the connection string update on collection") {
		t.Errorf("got %d warnings, want 1: %v", len(warnings), logs.All())
	}
	k := r.newKey()
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		return second.Validate(t.Context(), k.text, &apikey.Request{}).Code == apikey.Valid
	}, "the key is not valid without usage")
}

func TestUsageOff(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, func(c *daemon.Config) { c.Usage = service.UsageOff })
		if r.TracksUsage() {
			t.Error("usage is on, want off")
		}
		r.waitForCode(r.newKey(), apikey.Valid)
	})
}

// TestAnotherUseAllocatesNothing: a hit of a key with a pending use allocates as much as
// without usage.
func TestAnotherUseAllocatesNothing(t *testing.T) {
	server := &mongotest.StartDevmongo(t, devmongo.Config{}).Server
	allocations := func(change ...func(*daemon.Config)) float64 {
		r := start(t, server, change...)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		request := &apikey.Request{}
		return alloctest.PerCall(func() { r.Validate(context.Background(), k.text, request) })
	}
	with, without := allocations(), allocations(func(c *daemon.Config) { c.Usage = service.UsageOff })
	t.Logf("%v allocations of a hit, %v without usage", with, without)
	if with > without {
		t.Errorf("allocations of a hit: got %v, want %v as without usage", with, without)
	}
}
