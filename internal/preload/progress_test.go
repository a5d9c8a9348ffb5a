package preload

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keystore"
)

// slowStore delivers a document every pause.
type slowStore struct {
	*fakeStore
	pause time.Duration
}

func (s slowStore) Scan(ctx context.Context, after clustertime.Time, see func(*keystore.Document) error) error {
	return s.fakeStore.Scan(ctx, after, func(d *keystore.Document) error {
		time.Sleep(s.pause)
		return see(d)
	})
}

// slowScan runs f, on a simulated clock, during a scan of 100 keys that takes 100
// times the pause.
func slowScan(t *testing.T, pause time.Duration, f func(r *rig, logs *zapobserver.ObservedLogs)) {
	t.Helper()
	core, logs := zapobserver.New(zap.InfoLevel)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, func(c *Config) { c.Logger = zap.New(core) })
		r.store.fill("key-", 100, 0)
		r.Loader.config.Store = slowStore{r.store, pause}
		r.beat = 20 * time.Millisecond
		r.run()
		f(r, logs)
	})
}

func TestALongScanSaysHowFarItIs(t *testing.T) {
	slowScan(t, 300*time.Millisecond, func(r *rig, logs *zapobserver.ObservedLogs) {
		time.Sleep(15*time.Second + 400*time.Millisecond) // the scan began within the first poll
		now, running := r.Progress()
		if !running || now.Read < 49 || now.Read > 51 || now.Expected != 100 || now.Percent() != int(now.Read) {
			t.Errorf("%v, %+v", running, now)
		}
		if now.PerSecond < 3.2 || now.PerSecond > 3.4 || now.Left < 14*time.Second || now.Left > 16*time.Second {
			t.Errorf("%+v, want 3.3 a second and 15 s left", now)
		}
		r.becomesComplete()
		if now, running := r.Progress(); running {
			t.Errorf("after the scan its progress is %+v", now)
		}
		lines := logs.FilterMessage("the collection is being read").All()
		if len(lines) != 3 { // after 5, 15 and 25 s
			t.Fatalf("%d lines in a scan of 30 s, want 3: %v", len(lines), lines)
		}
		want := map[string]any{"keys_read": int64(16), "keys_expected": int64(100), "percent": int64(16), "keys_per_second": int64(3), "left": 26 * time.Second}
		if diff := cmp.Diff(want, lines[0].ContextMap()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAShortScanSaysNothing(t *testing.T) {
	slowScan(t, 10*time.Millisecond, func(r *rig, logs *zapobserver.ObservedLogs) {
		r.becomesComplete()
		time.Sleep(time.Minute)
		if n := logs.FilterMessage("the collection is being read").Len(); n != 0 {
			t.Errorf("%d lines about a scan of one second", n)
		}
	})
}

func TestProgressWithoutANumberOfKeys(t *testing.T) {
	t.Parallel()
	began := time.Unix(100, 0)
	p := &progress{began: began}
	p.read.Store(50)
	now := p.at(began.Add(10 * time.Second))
	if now.Left >= 0 || now.Percent() >= 0 || now.PerSecond != 5 {
		t.Errorf("%+v with %d %%", now, now.Percent())
	}
	// More than the metadata knows of.
	p.expected = 40
	now = p.at(began.Add(10 * time.Second))
	if now.Left != 0 || now.Percent() != 99 {
		t.Errorf("%+v with %d %%", now, now.Percent())
	}
	// Before the first document, and far too slow to say when.
	if now := (&progress{began: began, expected: 1}).at(began.Add(time.Second)); now.Left >= 0 || now.Percent() != 0 {
		t.Errorf("%+v", now)
	}
	slow := &progress{began: began, expected: 1 << 62}
	slow.read.Store(1)
	if now := slow.at(began.Add(time.Hour)); now.Left < 365*24*time.Hour {
		t.Errorf("%+v", now)
	}
}
