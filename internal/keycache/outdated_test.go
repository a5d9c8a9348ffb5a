package keycache

import (
	"fmt"
	"math"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

func (r *rig) fillKeys(n int) {
	for i := range n {
		id := fmt.Sprint("key-", i)
		r.fill(apikey.HashOf(id), finding(id, "u"))
	}
}

// updateKeys applies updates of the first keys, as their events show them.
func (r *rig) updateKeys(n int) {
	for i := range n {
		r.Apply(&Change{ID: apikey.DocID(fmt.Sprint("key-", i)), Time: 200, Refresh: true})
	}
}

func TestOutdatedShareIsThatOfTheKeysThatNeedARead(t *testing.T) {
	r := live(t, func(c *Config) { c.Slots = 1 << 20 })
	if share := r.OutdatedShare(); share != 0 {
		t.Errorf("an empty cache has %v", share)
	}
	r.fillKeys(1000)
	r.fill(apikey.HashOf("nobody"), Finding{})
	r.updateKeys(250)
	if share := r.OutdatedShare(); math.Abs(share-0.25) > 0.005 {
		t.Errorf("the share is %v, want 0.25", share)
	}
	if s := r.Stats(); s.RefreshesWaiting != 2 || s.RefreshesDropped != 248 {
		t.Errorf("%d refreshes wait and %d were dropped, want 2 and 248", s.RefreshesWaiting, s.RefreshesDropped)
	}
	r.fillKeys(1000)
	if share := r.OutdatedShare(); share > 0.005 {
		t.Errorf("the share is %v after all have been read", share)
	}
}

// A sample of a large cache shows the same share.
func TestOutdatedShareOfASample(t *testing.T) {
	const keys = 4 * outdatedSample
	r := live(t, forScans, func(c *Config) { c.SizeMiB, c.Slots = 64, 1<<20 })
	documents := map[apikey.Hash]Finding{}
	for i := range keys {
		id := fmt.Sprint("key-", i)
		documents[apikey.HashOf(id)] = finding(id, "u")
	}
	r.complete(t, ScanIntoEmpty, documents)
	r.updateKeys(keys / 5)
	if share := r.OutdatedShare(); math.Abs(share-0.2) > 0.03 {
		t.Errorf("the share is %v, want 0.2", share)
	}
}
