package keycache

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// figures fills caches of full size (docs/BENCHMARKS.md): some minutes, and 4 GiB of memory.
var figures = flag.Bool("figures", false, "measure how many keys stay complete in caches of full size")

// typical is a key of ordinary size.
func typical(i int, version uint8) Finding {
	id := fmt.Sprintf("\x07%012x", i)
	return Found(apikey.DocID(id[:13]), &apikey.Record{
		KeyID: fmt.Sprintf("%024x", i), UserID: fmt.Sprintf("user-%07d", i%100_000), OrgID: "acme",
		Name: fmt.Sprintf("continuous integration %d", version%10), Scopes: []string{"orders:read", "orders:write"}, Active: true,
	})
}

func typicalHash(i int) apikey.Hash { return apikey.HashOf(fmt.Sprint("key-", i)) }

// TestAllKeysStayCompleteUnderUpdates fills a cache with typical keys, and updates keys at random, and
// a few again and again. Each update is followed by its refresh. The cache stays complete, and every
// key whose entry is in the base or the overlay is answered. It logs the memory.
func TestAllKeysStayCompleteUnderUpdates(t *testing.T) {
	for _, c := range []struct {
		keys, sizeMiB, updates int
		full                   bool
	}{
		{20_000, 11, 20_000, false},
		{1_000_000, DefaultSizeMiB, 1_000_000, true},
		{10_000_000, 4096, 1_000_000, true},
	} {
		t.Run(fmt.Sprintf("%d keys in %d MiB", c.keys, c.sizeMiB), func(t *testing.T) {
			if c.full && !*figures {
				t.Skip("only with -figures")
			}
			versions := make([]uint8, c.keys)
			before := heapBytes()
			r := live(t, forScans, func(config *Config) { config.SizeMiB, config.Slots = c.sizeMiB, 0 })
			r.scanTypical(t, ScanIntoEmpty, versions)
			t.Logf("scanned: %s", r.memory(c.keys, before))
			r.updateTypical(versions, c.updates)
			r.updateTypical(versions[:min(1000, c.keys)], 86_000)
			stats := r.Stats()
			answered := r.answeredTypical(c.keys)
			t.Logf("updated: %s; overlay: %d entries, %d evictions; %d of %d keys are answered", r.memory(c.keys, before), stats.Overlay, r.overlay.evictions.Load(), answered, c.keys)
			if !stats.Complete || answered < c.keys/3 {
				t.Errorf("complete is %v", stats.Complete)
			}
			r.mustBeAbsent(t, apikey.HashOf("nobody"))
			kind, worth := r.Rebuild()
			t.Logf("a rebuild is worth it: %v, %v", worth, kind)
			if !worth {
				return
			}
			during := r.scanTypical(t, kind, versions)
			t.Logf("during the rebuild: %.0f bytes a key; rebuilt: %s", float64(during-before)/float64(c.keys), r.memory(c.keys, before))
			if answered := r.answeredTypical(c.keys); answered != c.keys || !r.Stats().Complete {
				t.Errorf("%d of %d keys are answered, complete is %v", answered, c.keys, r.Stats().Complete)
			}
		})
	}
}

// scanTypical returns the heap before the scan ends.
func (r *rig) scanTypical(t *testing.T, kind ScanKind, versions []uint8) uint64 {
	t.Helper()
	s, err := r.BeginScan(kind, int64(len(versions)))
	if err != nil {
		t.Fatal(err)
	}
	s.IndexIsUnique()
	for i, version := range versions {
		s.Add(typicalHash(i), typical(i, version))
	}
	held := heapBytes()
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	return held
}

func (r *rig) updateTypical(versions []uint8, updates int) {
	random := rand.New(rand.NewPCG(18, 2))
	for n := range updates {
		i := random.IntN(len(versions))
		versions[i]++
		f := typical(i, versions[i])
		r.Apply(&Change{ID: f.ID, Time: clustertime.Time(200 + n)})
		r.StoreByID(r.Begin(), typicalHash(i), f)
	}
}

func (r *rig) answeredTypical(keys int) (n int) {
	for i := range keys {
		if a, ok := r.Get(typicalHash(i)); ok && a.Found {
			n++
		}
	}
	return n
}

func (r *rig) memory(keys int, before uint64) string {
	g := r.current.Load()
	f := typical(0, 0)
	return fmt.Sprintf("%.0f bytes of heap a key, of which %.0f in the base (%.0f allocated) and %.0f in slots; stated are %d",
		float64(heapBytes()-before)/float64(keys), float64(g.base.Load().used.Load())/float64(keys), float64(g.base.Load().capacity())/float64(keys),
		float64(2*8*len(g.slots.byID))/float64(keys), EntryBytes(f.ID, f.Record, true))
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
