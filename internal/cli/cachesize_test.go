package cli

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/seed"
)

// TestCacheSizeInKeys: the rule of thumb in the flag's help is computed from the sample
// keys.
func TestCacheSizeInKeys(t *testing.T) {
	docs, err := seed.Documents()
	if err != nil {
		t.Fatal(err)
	}
	total, lazy := int64(0), int64(0)
	for _, doc := range docs {
		key := keystore.DefaultSchema().Decode(doc)
		total += int64(keycache.EntryBytes(key.ID, &key.Record, true))
		lazy += int64(keycache.EntryBytes(key.ID, &key.Record, false))
	}
	each := total / int64(len(docs))
	perMiB := func(complete bool, each int64) int64 {
		return keycache.GenerationBytes(keycache.DefaultSizeMiB, complete) / keycache.DefaultSizeMiB / each / 100 * 100
	}
	field, _ := reflect.TypeFor[config.Config]().FieldByName("CacheSize")
	want := fmt.Sprintf("A MiB holds at least %d keys of ordinary size (%d bytes), or %d with --preload off.", perMiB(true, each), each/10*10, perMiB(false, lazy/int64(len(docs))))
	if got := field.Tag.Get("help"); !strings.Contains(got, want) {
		t.Errorf("the help of --cache-size is %q, want %q in it", got, want)
	}
}
