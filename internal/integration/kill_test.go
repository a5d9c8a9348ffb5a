package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// TestKill9UnderLoadGivesNoWrongVerdict repeatedly kills the database and starts it on the
// same storage, while keys are revoked, restored and validated.
func TestKill9UnderLoadGivesNoWrongVerdict(t *testing.T) {
	const kills = 3
	server := mongotest.StartSecantus(t, mongotest.SecantusConfig{})
	r := startOn(t, &server.Server, server.Database(t))
	load := startLoad(t, r, 200)
	for range kills {
		load.untilAnswers(2000)
		down := time.Now()
		server.Kill9()
		load.untilAnswers(200)
		server.Restart(t)
		load.history.AddFault(nemesis.Fault{Kind: "kill -9", From: down, To: time.Now()})
		// The service's stream resumes later than the writers reconnect, as that of the
		// last instance of a fleet would: it must not lose the changes in between.
		mend := r.failpoint("alwaysOn", bson.D{
			{Key: "failCommands", Value: bson.A{"aggregate"}},
			{Key: "errorCode", Value: 216}, // ElectionInProgress
			{Key: "appName", Value: r.appName},
		})
		load.untilAcknowledged(20)
		mend()
	}
	load.untilAnswers(2000)
	load.stop()
	for _, violation := range load.history.Check(keycache.DefaultMaxStale) {
		t.Error(violation)
	}
	load.mustConverge(5 * time.Second)
	totals := load.history.Totals()
	t.Logf("%d answers, %d of them UNAVAILABLE; %d writes, %d of unknown outcome; %v; losses %v",
		totals.Answers, totals.Unavailable, totals.Writes, totals.UnknownWrites, totals.Faults,
		r.metric("keytail_losses_total"))
}

// load validates keys, changes them, and records all answers and writes.
type load struct {
	*fixture
	history               *nemesis.History
	keys                  []key
	answers, acknowledged atomic.Int64
	ctx                   context.Context
	cancel                context.CancelFunc
	group                 sync.WaitGroup
}

func startLoad(t *testing.T, r *fixture, keys int) *load {
	l := &load{fixture: r, history: nemesis.NewHistory()}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for range keys {
		sent := time.Now()
		k := r.newKey(bson.E{Key: "v", Value: 0})
		l.history.AddWrite(k.id, apikey.Valid, sent)(time.Now())
		l.keys = append(l.keys, k)
	}
	for keys := range slices.Chunk(l.keys, len(l.keys)/4) {
		l.group.Go(func() { l.write(keys) })
	}
	for i := range 16 {
		l.group.Go(func() { l.verify(fmt.Sprint("caller-", i)) })
	}
	t.Cleanup(l.stop)
	return l
}

// write changes random keys, so that most of them are not written again soon: the next
// write would hide a lost one. The version is a fence: a write of unknown outcome cannot
// take effect after a later one.
func (l *load) write(keys []key) {
	versions := make([]int, len(keys))
	for l.ctx.Err() == nil {
		i := rand.IntN(len(keys))
		versions[i]++
		k, version := keys[i], versions[i]
		active := version%2 == 0
		state := apikey.Disabled
		if active {
			state = apikey.Valid
		}
		acked := l.history.AddWrite(k.id, state, time.Now())
		ctx, cancel := context.WithTimeout(l.ctx, 2*time.Second)
		result, err := l.fixture.keys.UpdateOne(ctx,
			bson.D{{Key: "_id", Value: k.id}, {Key: "v", Value: bson.D{{Key: "$lt", Value: version}}}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: active}, {Key: "v", Value: version}}}})
		cancel()
		if err == nil && result.MatchedCount == 1 {
			acked(time.Now())
			l.acknowledged.Add(1)
		}
	}
}

func (l *load) verify(name string) {
	pace := time.NewTicker(4 * time.Millisecond)
	defer pace.Stop()
	for l.ctx.Err() == nil {
		k := l.keys[rand.IntN(len(l.keys))]
		asked := time.Now()
		v := l.validate(k)
		l.history.AddAnswer(nemesis.Answer{
			Key: k.id, Code: v.Code, Asked: asked, Given: time.Now(), AsOf: v.AsOf, Staleness: v.Staleness, Instance: name,
		})
		l.answers.Add(1)
		<-pace.C
	}
}

func (l *load) untilAnswers(more int64) {
	l.t.Helper()
	want := l.answers.Load() + more
	mongotest.Eventually(l.t, time.Minute, func() bool { return l.answers.Load() >= want }, "got no more answers")
}

func (l *load) untilAcknowledged(more int64) {
	l.t.Helper()
	want := l.acknowledged.Load() + more
	mongotest.Eventually(l.t, time.Minute, func() bool { return l.acknowledged.Load() >= want }, "no writes are acknowledged")
}

func (l *load) stop() {
	l.cancel()
	l.group.Wait()
}

// mustConverge checks that every key reaches its state in the database in this time. It
// reads a differing key again each time, because an abandoned write may still take effect.
func (l *load) mustConverge(within time.Duration) {
	l.t.Helper()
	differ, deadline := l.keys, time.Now().Add(within)
	for {
		var now []key
		var words []string
		for _, k := range differ {
			want := l.databaseState(k)
			if v := l.validate(k); v.Code != want {
				now = append(now, k)
				words = append(words, fmt.Sprintf("%s: got %v (from %v, %v old), want %v as in the database", k.id, v.Code, v.Source, v.Staleness, want))
			}
		}
		if differ = now; len(differ) == 0 {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("keys that still differ after %v: %q", within, words)
		}
	}
}

// databaseState returns the code of the key by its document.
func (l *load) databaseState(k key) apikey.Code {
	l.t.Helper()
	var d struct {
		Active bool `bson:"is_active"`
	}
	if err := l.fixture.keys.FindOne(l.t.Context(), bson.D{{Key: "_id", Value: k.id}}).Decode(&d); err != nil {
		l.t.Fatal(err)
	}
	if d.Active {
		return apikey.Valid
	}
	return apikey.Disabled
}

// TestRevocationDelay measures how long a revoked key is accepted after the acknowledgement
// of the write by another client.
func TestRevocationDelay(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		const rounds = 200
		delays := make([]time.Duration, rounds)
		k := r.newKey()
		for i := range rounds {
			r.waitForCode(k, apikey.Valid)
			r.set(k, "is_active", false)
			acknowledged := time.Now()
			for r.validate(k).Code != apikey.Disabled {
				if time.Since(acknowledged) > keycache.DefaultMaxStale {
					t.Fatal("accepted for longer than max_stale")
				}
			}
			delays[i] = time.Since(acknowledged)
			r.set(k, "is_active", true)
		}
		slices.Sort(delays)
		t.Logf("%d revocations: median %v, maximum %v", rounds, delays[rounds/2], delays[rounds-1])
	})
}
