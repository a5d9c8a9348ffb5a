package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// proxied is the toxiproxy between one instance and the server.
type proxied struct{ *toxiproxy.Proxy }

func startProxy(t *testing.T, name string, s *mongotest.Server) proxied {
	t.Helper()
	u, err := url.Parse(s.URI)
	if err != nil {
		t.Fatal(err)
	}
	// Some toxics log to standard error even with another logger.
	zerolog.SetGlobalLevel(zerolog.Disabled)
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(api, name, "127.0.0.1:0", u.Host)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return proxied{p}
}

// DialContext routes all connections of a client through the proxy, whatever address the
// replica set reports.
func (p proxied) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, p.Listen)
}

// options returns the options of an instance's client. The driver opens at most two
// connections at a time, and each has 30 s for its hello. So two connections whose hello
// was lost block all others long after the network works again. And the driver's monitor
// waits up to 10 s for a hello: after an error without a topologyVersion, which
// secantusd's failpoints return, the server stays unknown for that time.
func (p proxied) options(s *mongotest.Server, appName string) *options.ClientOptions {
	return s.Options(appName).SetDialer(p).
		SetServerSelectionTimeout(5 * time.Second).
		SetConnectTimeout(*nemesisConnect).
		SetHeartbeatInterval(nemesisMaxStale / 6)
}

// connectWithShortTimeouts returns a client for the test itself. It recovers as fast as
// the instances do: after a black hole it does not wait longer for lost replies.
func connectWithShortTimeouts(t *testing.T, s *mongotest.Server, appName string, change ...func(*options.ClientOptions)) *mongo.Client {
	t.Helper()
	o := s.Options(appName).SetConnectTimeout(*nemesisConnect).SetHeartbeatInterval(nemesisMaxStale / 6)
	for _, f := range change {
		f(o)
	}
	return s.Connect(t, o)
}

// addToxic adds a toxic; repair removes it.
func (p proxied) addToxic(t *testing.T, toxic string) (repair func()) {
	t.Helper()
	added, err := p.Toxics.AddToxicJson(strings.NewReader(toxic))
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := p.Toxics.RemoveToxic(context.Background(), added.Name); err != nil {
			t.Error(err)
		}
	}
}

// fault breaks something for the victims, and returns the function that repairs it.
type fault func(victims []*instance) (repair func())

// toxics returns faults of the network between the instances and any server.
func toxics(t *testing.T) map[string]fault {
	toxic := func(text string) fault {
		return func(victims []*instance) func() {
			return each(victims, func(i *instance) func() { return i.proxy.addToxic(t, text) })
		}
	}
	return map[string]fault{
		"latency":             toxic(`{"type":"latency","stream":"downstream","attributes":{"latency":300,"jitter":250}}`),
		"reset":               toxic(`{"type":"reset_peer","stream":"downstream","attributes":{"timeout":50}}`),
		"half-open, there":    toxic(`{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`),
		"half-open, and back": toxic(`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`),
		"bandwidth":           toxic(`{"type":"bandwidth","stream":"downstream","attributes":{"rate":4}}`),
	}
}

// each runs do for all victims; repair repairs all of them.
func each(victims []*instance, do func(*instance) func()) (repair func()) {
	var mends []func()
	for _, v := range victims {
		mends = append(mends, do(v))
	}
	return func() {
		for _, repair := range mends {
			repair()
		}
	}
}

// failpoints returns faults that make commands of one instance, or of all, fail.
func failpoints(t *testing.T, s *mongotest.Server) map[string]fault {
	admin := connectWithShortTimeouts(t, s, "operator").Database("admin")
	point := func(data bson.D) fault {
		return func(victims []*instance) func() {
			// There is one failpoint, for one client name or for all clients, writers included.
			data := data
			if len(victims) == 1 {
				data = append(bson.D{{Key: "appName", Value: victims[0].appName}}, data...)
			}
			setFailpoint(t, admin, "alwaysOn", data)
			return func() { setFailpoint(t, admin, "off", nil) }
		}
	}
	return map[string]fault{
		"getMore fails": point(bson.D{
			{Key: "failCommands", Value: bson.A{"getMore"}}, {Key: "errorCode", Value: 43}, // CursorNotFound
		}),
		"aggregate and getMore fail": point(bson.D{
			{Key: "failCommands", Value: bson.A{"aggregate", "getMore"}}, {Key: "errorCode", Value: 216}, // ElectionInProgress
		}),
		"find fails": point(bson.D{
			{Key: "failCommands", Value: bson.A{"find"}}, {Key: "errorCode", Value: 91}, // ShutdownInProgress
		}),
		"finds block": point(bson.D{
			{Key: "failCommands", Value: bson.A{"find"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 700},
		}),
		"heartbeats fail": point(bson.D{
			{Key: "failCommands", Value: bson.A{"update"}}, {Key: "errorCode", Value: 189}, // PrimarySteppedDown
		}),
	}
}

// streamErrors returns faults that end the streams, each with another error code, and
// reject new ones meanwhile. Violations appear when the streams are open again.
func streamErrors(t *testing.T, s *mongotest.Server) map[string]fault {
	admin := connectWithShortTimeouts(t, s, "operator").Database("admin")
	faults := map[string]fault{}
	for _, code := range []int{136, 260, 280, 286, 10334, 8} { // 8: a code without a meaning
		faults[fmt.Sprint("refused with ", code)] = func([]*instance) func() {
			setFailpoint(t, admin, "alwaysOn", bson.D{{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}}, {Key: "errorCode", Value: code}})
			return func() {
				setFailpoint(t, admin, "off", nil)
				pause(scanLasts)
			}
		}
	}
	return faults
}

// randomCode makes streams fail with one of the server's codes, while they are read,
// opened or both.
func (a *testbed) randomCode(load *workload) fault {
	admin := connectWithShortTimeouts(a.t, a.server, "operator").Database("admin")
	random := rand.New(rand.NewPCG(load.seed, 19))
	codes := testkit.Codes(a.t)
	return func(victims []*instance) func() {
		commands := []bson.A{{"getMore"}, {"aggregate"}, {"getMore", "aggregate"}}[random.IntN(3)]
		code := codes[random.IntN(len(codes))].Code
		data := bson.D{{Key: "failCommands", Value: commands}, {Key: "errorCode", Value: code}}
		if name := soleVictim(victims); name != "" {
			data = append(data, bson.E{Key: "appName", Value: name})
		}
		a.t.Logf("code %d at %v", code, commands)
		setFailpoint(a.t, admin, "alwaysOn", data)
		return func() { setFailpoint(a.t, admin, "off", nil) }
	}
}

// setFailpoint retries: the last fault may have closed the connection.
func setFailpoint(t *testing.T, admin *mongo.Database, mode any, data bson.D) {
	t.Helper()
	command := bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}}
	if data != nil {
		command = append(command, bson.E{Key: "data", Value: data})
	}
	var err error
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		defer cancel()
		err = admin.RunCommand(ctx, command).Err()
		return err == nil
	}, "cannot set a failpoint ", mode, ": ", lazyText(func() any { return err }))
}

// devmongoFaults returns faults that only the embedded server can make.
func (a *testbed) devmongoFaults(d *mongotest.Devmongo) map[string]fault {
	t := a.t
	admin := connectWithShortTimeouts(t, &d.Server, "operator").Database("admin")
	refuse := bson.D{{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}}, {Key: "errorCode", Value: 286}}
	// openInLag makes all streams end with a loss, and new ones open after writes
	// that have not reached the majority.
	openInLag := func() {
		setFailpoint(t, admin, "alwaysOn", refuse)
		pause(lossLasts)
		d.Node.HoldMajority()
		pause(lossLasts)
		setFailpoint(t, admin, "off", nil)
		pause(openLasts)
	}
	a.forget = func() {
		setFailpoint(t, admin, "alwaysOn", refuse)
		pause(lossLasts)
		setFailpoint(t, admin, "off", nil)
		pause(scanLasts)
	}
	return map[string]fault{
		"majority held": func([]*instance) func() { d.Node.HoldMajority(); return d.Node.ReleaseMajority },
		"rollback":      func([]*instance) func() { d.Node.HoldMajority(); return d.Node.Rollback },
		"step-down":     func([]*instance) func() { d.Node.StepDown(0); return d.Node.StepUp },
		"freeze":        func(v []*instance) func() { d.Node.Freeze(soleVictim(v)); return d.Node.Heal },
		"black hole":    func(v []*instance) func() { d.Node.BlackHole(soleVictim(v)); return d.Node.Heal },
		"late finds": func([]*instance) func() {
			d.Node.DelayReplies("", "find", findsLate)
			pause(3 * scanLasts) // a heartbeat must complete its round trip meanwhile
			return func() { d.Node.DelayReplies("", "", 0) }
		},
		"lagging reads":               func([]*instance) func() { d.Node.LagReads(); return d.Node.CatchUpReads },
		"majority held, history lost": func([]*instance) func() { openInLag(); return d.Node.ReleaseMajority },
		"majority held, history lost, rolled back": func([]*instance) func() {
			openInLag()
			// Violations appear when the streams are open again.
			return func() { d.Node.Rollback(); pause(scanLasts) }
		},
		"new streams read late, log rolls": func([]*instance) func() {
			setFailpoint(t, admin, "alwaysOn", refuse)
			pause(lossLasts)
			setFailpoint(t, admin, "alwaysOn", bson.D{
				{Key: "failCommands", Value: bson.A{"getMore"}}, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 700},
			})
			ctx, cancel := context.WithCancel(context.Background())
			var roller sync.WaitGroup
			roller.Go(func() {
				for ctx.Err() == nil {
					d.Node.RollLog()
					pause(50 * time.Millisecond)
				}
			})
			return func() {
				cancel()
				roller.Wait()
				setFailpoint(t, admin, "off", nil)
			}
		},
	}
}

const (
	// lossLasts is longer than the tail's first pause, so that it affects all streams,
	// and shorter than a fault.
	lossLasts = 150 * time.Millisecond
	// openLasts is longer than the tail's next pauses.
	openLasts = 400 * time.Millisecond
	// scanLasts is enough time to open a stream and scan, on an idle machine.
	scanLasts = 600 * time.Millisecond
	// findsLate is longer than one change of a hot key takes.
	findsLate = 200 * time.Millisecond
)

// pause waits as part of a fault.
func pause(d time.Duration) { <-time.After(d) }

// secantusFaults returns faults of secantusd's process.
func secantusFaults(t *testing.T, s *mongotest.Secantus) map[string]fault {
	u, err := url.Parse(s.URI)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]fault{
		"kill -9": func([]*instance) func() { s.Kill9(); return func() { s.Restart(t) } },
		"SIGSTOP": func([]*instance) func() {
			proceed, err := nemesis.StopChild(u.Port())
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := proceed(); err != nil {
					t.Error(err)
				}
			}
		},
	}
}
