package keycache

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// TestCapacityIsAtLeastTheEstimate for keys of up to 2 KiB: people choose the size of the
// cache by EntryBytes. The parts of the store do not fill evenly, but EntryBytes is an upper
// bound.
func TestCapacityIsAtLeastTheEstimate(t *testing.T) {
	for _, metadata := range []int{0, 200, 2000} {
		record := &apikey.Record{
			KeyID: "6b0d1e6306cc976ffb8a4653", UserID: "6b0d1e6306cc976ffb8a4653", OrgID: "org-12345", Name: "the key of a service",
			Active: true, Scopes: []string{"read", "write:*"}, Metadata: []byte(strings.Repeat("x", metadata)),
		}
		const sizeMiB = 7
		store, err := newByteStore(sizeMiB, 0)
		if err != nil {
			t.Fatal(err)
		}
		stored := 0
		for ; store.evictions.Load() == 0; stored++ {
			hash := apikey.HashOf(fmt.Sprint(stored))
			value, kept := (&entry{kind: found, hash: hash}).appendFromScan(nil, apikey.DocID(record.KeyID), record)
			if !kept {
				t.Fatal("the record is too large")
			}
			store.set(&hash, value)
		}
		if estimate := sizeMiB << 20 / EntryBytes(apikey.DocID(record.KeyID), record, true); stored < estimate {
			t.Errorf("metadata of %d bytes: %d entries fit, the estimate is %d", metadata, stored, estimate)
		}
	}
}
