package cli

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/mongoclient"
)

// fakeDev is an in-memory MongoDB that nobody connects to. It notes its faults.
type fakeDev struct {
	mutex  sync.Mutex
	faults []string
	// healed is closed by the first Heal.
	healed chan struct{}
}

func (f *fakeDev) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (*fakeDev) URI() string { return "mongodb://127.0.0.1:1/?replicaSet=none" }

func (f *fakeDev) note(fault string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.faults = append(f.faults, fault)
}

func (f *fakeDev) Freeze(appName string)    { f.note("freeze " + appName) }
func (f *fakeDev) BlackHole(appName string) { f.note("cut " + appName) }

func (f *fakeDev) Heal() {
	f.note("heal")
	close(f.healed)
}

// devRun is a run of serve with --dev, which has not begun.
func devRun(t *testing.T, args ...string) *serveRun {
	t.Helper()
	var g struct {
		Serve serveCommand `cmd:"" default:"withargs"`
	}
	parser, err := config.NewParser(&g)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parser.Parse(append([]string{"--dev"}, args...)); err != nil {
		t.Fatal(err)
	}
	g.Serve.Complete(config.Given{})
	return &serveRun{cfg: &g.Serve.Config, log: &logging{Logger: newTestLogger(t)}}
}

// TestOnlyDevOnLoopbackHasAPlayground: whoever opens it can stop the database.
func TestOnlyDevOnLoopbackHasAPlayground(t *testing.T) {
	dev := &fakeDev{healed: make(chan struct{})}
	settings, err := mongoclient.ForURI(dev.URI())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dev       *devServer
		adminAddr string
		has       bool
	}{
		"serve":                       {nil, "127.0.0.1:9091", false},
		"dev":                         {&devServer{DevServer: dev}, "127.0.0.1:9091", true},
		"dev, IPv6":                   {&devServer{DevServer: dev}, "[::1]:9091", true},
		"dev that others can reach":   {&devServer{DevServer: dev}, "0.0.0.0:9091", false},
		"dev on every address":        {&devServer{DevServer: dev}, ":9091", false},
		"dev, on another host's name": {&devServer{DevServer: dev}, "keys.example.com:9091", false},
	} {
		d := devRun(t, "--admin-addr", c.adminAddr)
		play, end, err := d.newPlayground(t.Context(), c.dev, database{Settings: settings})
		if err != nil || (play != nil) != c.has {
			t.Errorf("%s: %v, %v", name, play, err)
		}
		end()
	}
}

// TestAFrozenPrimaryDoesNotKeepTheDaemonFromStopping, and a cut hits the services alone.
func TestAFrozenPrimaryDoesNotKeepTheDaemonFromStopping(t *testing.T) {
	dev := &fakeDev{healed: make(chan struct{})}
	settings, err := mongoclient.ForURI(dev.URI())
	if err != nil {
		t.Fatal(err)
	}
	d := devRun(t)
	ctx, stop := context.WithCancel(t.Context())
	play, end, err := d.newPlayground(ctx, &devServer{DevServer: dev}, database{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	play.Faults.Cut()
	play.Faults.Freeze()
	stop()
	<-dev.healed
	if want := []string{"cut " + *settings.Options.AppName, "freeze ", "heal"}; !slices.Equal(dev.faults, want) {
		t.Errorf("got %q, want %q", dev.faults, want)
	}
}
