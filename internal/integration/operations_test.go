package integration

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
	"github.com/keytail/keytail/internal/usage"
)

// wholeLoad makes the parts that always read the database as long as the others, which
// takes half a minute.
var wholeLoad = flag.Bool("operations.whole", false, "send all the operations of TestOperationsPer100kVerifies, and not a tenth of those without keytail")

// The load of TestOperationsPer100kVerifies: 1,000 verifies a second, for 100 s.
const (
	loadVerifies = 100_000
	loadKeys     = 1000
	// loadFlush and loadWrite are the numbers of verifies per flush (10 s), and per write
	// of a key by another client (1 s).
	loadFlush = 10_000
	loadWrite = 1000
)

// operations counts the commands that a client sends.
type operations struct {
	mutex sync.Mutex
	// commands counts commands by name; statements counts the updates in them.
	commands   map[string]int
	statements int
}

func (o *operations) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		// Commands that an instance sends each second, independent of the number of verifies,
		// are not counted.
		if target, _ := e.Command.Lookup(e.CommandName).StringValueOK(); target != "api_keys" {
			return
		}
		o.mutex.Lock()
		defer o.mutex.Unlock()
		o.commands[e.CommandName]++
		if list, ok := e.Command.Lookup("updates").ArrayOK(); ok {
			values, _ := list.Values()
			o.statements += len(values)
		}
	}}
}

// begin resets the counts.
func (o *operations) begin() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.commands, o.statements = map[string]int{}, 0
}

// counted is one row of the table.
type counted struct{ finds, updates, statements int }

func (o *operations) counted() counted {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return counted{o.commands["find"], o.commands["update"], o.statements}
}

func (c counted) times(n int) counted { return counted{n * c.finds, n * c.updates, n * c.statements} }

// traffic is a collection of keys and a load of verifies.
type traffic struct {
	*fixture
	keys1000 []key
	counter  *operations
	// took is the duration of the load in countKeytail.
	took time.Duration
}

func newTraffic(t *testing.T) *traffic {
	server := &mongotest.StartDevmongo(t, devmongo.Config{}).Server
	l := &traffic{fixture: &fixture{t: t, server: server}}
	l.db = server.Client(t, "other-client").Database(server.Database(t))
	l.keys = mongotest.CreateAPIKeys(t, l.db)
	for range loadKeys {
		l.keys1000 = append(l.keys1000, l.newKey())
	}
	return l
}

// client returns a client whose operations are counted.
func (l *traffic) client() *mongo.Client {
	// The clients of earlier services continue.
	l.counter = &operations{commands: map[string]int{}}
	return l.server.Connect(l.t, l.server.Options("counted").SetMonitor(l.counter.monitor()))
}

// verify verifies random keys, the same sequence each time. After each loadWrite verifies
// another client, which is not counted, writes a key.
func (l *traffic) verify(count int, verify func(key), written, flushed func()) {
	l.t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for i := 1; i <= count; i++ {
		verify(l.keys1000[random.IntN(loadKeys)])
		if i%loadWrite == 0 && written != nil {
			l.set(l.keys1000[random.IntN(loadKeys)], "name", fmt.Sprint("name ", l.made.Add(1)))
			written()
		}
		if i%loadFlush == 0 && flushed != nil {
			flushed()
		}
	}
}

// direct returns the lookup of a service that reads the database for each key.
func (l *traffic) direct(keys *mongo.Collection) func(key) {
	return func(k key) {
		ctx := l.t.Context()
		if err := keys.FindOne(ctx, bson.D{{Key: "key_hash", Value: apikey.HashOf(k.text).Hex()}}).Err(); err != nil {
			l.t.Fatal(err)
		}
		_, err := keys.UpdateByID(ctx, k.id, bson.D{{Key: "$set", Value: bson.D{{Key: "last_used", Value: time.Now()}}}})
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *traffic) countUncached() counted {
	return l.countTenth(l.direct(l.client().Database(l.db.Name()).Collection("api_keys")), nil)
}

// countTenth counts a tenth of a uniform load, and multiplies; with -operations.whole it counts
// the whole load.
func (l *traffic) countTenth(verify func(key), written func()) counted {
	share := 10
	if *wholeLoad {
		share = 1
	}
	l.verify(loadVerifies/share, verify, written, nil)
	return l.counter.counted().times(share)
}

// countTimedCache counts the operations with a cache of 120 s, longer than the load, that each
// write of a key clears; hits write no last_used.
func (l *traffic) countTimedCache(writes bool) counted {
	query := l.direct(l.client().Database(l.db.Name()).Collection("api_keys"))
	held := map[string]bool{}
	verify := func(k key) {
		if !held[k.id] {
			query(k)
			held[k.id] = true
		}
	}
	if writes {
		return l.countTenth(verify, func() { clear(held) })
	}
	l.verify(loadVerifies, verify, nil, nil)
	return l.counter.counted()
}

// countKeytail counts the operations with keytail, and checks that usage_count has every use.
func (l *traffic) countKeytail(writes bool, change ...func(*daemon.Config)) counted {
	client := l.client()
	l.registry = prometheus.NewRegistry()
	l.Daemon = l.run(l.registry, zap.NewNop(), append(change, func(c *daemon.Config) { c.Client = client })...)
	before := l.usesWritten()
	l.counter.begin()
	began := time.Now()
	var written, flushed func()
	if writes {
		n := 0.0
		written = func() {
			// In production a second passes between writes, longer than a refresh takes. Here
			// the test waits for the refresh.
			n++
			mongotest.Eventually(l.t, testkit.WaitTimeout, func() bool { return l.metric("keytail_reads_total", "refresh") == n }, "no refresh")
		}
	}
	if l.TracksUsage() {
		flushed = l.flushUsage
	}
	l.verify(loadVerifies, func(k key) {
		if v := l.validate(k); v.Code != apikey.Valid {
			l.t.Fatalf("%s: got %v", k.id, v.Code)
		}
	}, written, flushed)
	l.took = time.Since(began)
	c := l.counter.counted()
	if got := l.usesWritten() - before; flushed != nil && got != loadVerifies {
		l.t.Errorf("usage_count: got %d, want %d", got, loadVerifies)
	}
	return c
}

// usesWritten returns the sum of usage_count.
func (l *traffic) usesWritten() (sum int64) {
	cursor, err := l.keys.Find(l.t.Context(), bson.D{})
	if err != nil {
		l.t.Fatal(err)
	}
	var documents []struct {
		Count int64 `bson:"usage_count"`
	}
	if err := cursor.All(l.t.Context(), &documents); err != nil {
		l.t.Fatal(err)
	}
	for _, d := range documents {
		sum += d.Count
	}
	return sum
}

// TestOperationsPer100kVerifies counts, by a command monitor, what 100,000 verifies
// of 1,000 keys cost the database, and prints the table of docs/BENCHMARKS.md.
func TestOperationsPer100kVerifies(t *testing.T) {
	l := newTraffic(t)
	var table strings.Builder
	row := func(name string, c counted) {
		fmt.Fprintf(&table, "%-62s %7d %7d %10d %9d\n", name, c.finds, c.updates, c.statements, c.finds+c.updates)
	}
	fmt.Fprintf(&table, "%-62s %7s %7s %10s %9s\n", "100,000 verifies of 1,000 keys, 1,000 a second", "find", "update", "statements", "commands")
	uncached := l.countUncached()
	row("uncached: find, and last_used", uncached)
	row("a cache of 120 s, no other writes", l.countTimedCache(false))
	clearing := l.countTimedCache(true)
	row("a cache of 120 s, cleared by a write each second", clearing)
	quiet := l.countKeytail(false)
	// On a slow machine there are also flushes by time.
	flushes := loadVerifies / loadFlush
	atMost := flushes + int(l.took/(usage.DefaultInterval/2))
	row("keytail, usage on, no other writes", quiet)
	writing := l.countKeytail(true)
	row("keytail, usage on, a write each second", writing)
	row("keytail, usage off, a write each second", l.countKeytail(true, func(c *daemon.Config) { c.Usage = service.UsageOff }))
	t.Logf("\n%s", &table)
	if want := (counted{loadVerifies, loadVerifies, loadVerifies}); uncached != want {
		t.Errorf("uncached: got %+v, want %+v", uncached, want)
	}
	if quiet.updates < flushes || quiet.updates > atMost || quiet.statements > quiet.updates*loadKeys || quiet.finds != 0 {
		t.Errorf("keytail: got %+v, want one update per flush (%d to %d), and no find", quiet, flushes, atMost)
	}
	// Each write causes a refresh of its key. A request for the key meanwhile reads it,
	// too.
	writes := loadVerifies / loadWrite
	if writing.finds < writes || writing.finds > writes*11/10 || writing.finds > clearing.finds/10 {
		t.Errorf("keytail: got %+v, want one find per write", writing)
	}
}
