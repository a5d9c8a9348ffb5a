package fleet

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestSizeCountsTheInstancesThatAreAlive: at least this one, and a dead one no longer than a minute.
func TestSizeCountsTheInstancesThatAreAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if n := w.Size(); n != 1 {
			t.Errorf("the size is %d before the first read, want 1", n)
		}
		beatFor := func(instances int, d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				w.addHeartbeat(self, 0, 0)
				for i := range instances - 1 {
					w.addHeartbeat(fmt.Sprint("i/", i), 0, 0)
				}
			}
		}
		for _, n := range []int{100, 1000} {
			if beatFor(n, 2*time.Minute); w.Size() != n {
				t.Errorf("the size is %d, want %d", w.Size(), n)
			}
		}
		if beatFor(1, 2*time.Minute); w.Size() != 1 {
			t.Errorf("the size is %d when all others are dead", w.Size())
		}
	})
}

// TestSizeHasABound: whoever writes documents that look like heartbeats does not make the intervals
// that follow the size arbitrarily long, nor the pause after which it is counted again.
func TestSizeHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		forged := map[string]heartbeat{}
		for i := range 20_000 {
			id := fmt.Sprint("forged/", i)
			forged[id] = heartbeat{key: id, version: "1", Instance: Instance{ID: id}}
		}
		show := func(all map[string]heartbeat) {
			w.mutex.Lock()
			defer w.mutex.Unlock()
			w.all = all
		}
		show(forged)
		time.Sleep(10 * time.Second)
		if n := w.Size(); n != maxSize {
			t.Errorf("the size is %d with 20,000 documents, want %d", n, maxSize)
		}
		show(map[string]heartbeat{})
		if time.Sleep(5 * time.Minute); w.Size() != 1 {
			t.Errorf("the size is %d five minutes after the documents were removed", w.Size())
		}
	})
}

// TestSizeCountsRareHeartbeats: --heartbeat-interval may be up to 20 minutes, with --max-stale 1h.
func TestSizeCountsRareHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		beat := func() {
			w.addHeartbeat(self, 0, 0)
			for i := range 9 {
				w.addHeartbeat(fmt.Sprint("i/", i), 0, 0)
			}
		}
		beat()
		for range 3 {
			time.Sleep(10 * time.Minute)
			beat()
		}
		for range 9 {
			if time.Sleep(time.Minute); w.Size() != 10 {
				t.Fatalf("the size is %d between two heartbeats, want 10", w.Size())
			}
		}
		if time.Sleep(30 * time.Minute); w.Size() != 1 {
			t.Errorf("the size is %d when all are dead", w.Size())
		}
	})
}
