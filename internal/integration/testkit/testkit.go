// Package testkit has what the packages of integration tests share.
package testkit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/mongotest"
)

// WaitTimeout limits waits for something that normally takes milliseconds.
const WaitTimeout = 20 * time.Second

// Scopes are the scopes of a change stream.
var Scopes = []string{mongotest.ScopeDatabase, mongotest.ScopeCollection}

// Daemon is a daemon whose core tests call directly, without a listener.
type Daemon struct{ *daemon.Daemon }

// Validate validates a key.
func (d Daemon) Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	return d.Core.Validator.Validate(ctx, text, request)
}

// FlushUsage writes the use of keys immediately, so that a test does not wait for the
// interval.
func (d Daemon) FlushUsage(ctx context.Context) error { return d.Core.Usage.Flush(ctx) }

// TracksUsage reports whether the use of keys is written.
func (d Daemon) TracksUsage() bool { return d.Core.Usage != nil }

// Document returns the document of an active key; fields replace or add to its fields.
func Document(id, text string, fields ...bson.E) bson.D {
	d := bson.D{
		{Key: "_id", Value: id},
		{Key: "key_hash", Value: apikey.HashOf(text).Hex()},
		{Key: "user_id", Value: "user-1"},
		{Key: "name", Value: "a key"},
		{Key: "scopes", Value: bson.A{"read"}},
		{Key: "is_active", Value: true},
		{Key: "created_at", Value: time.Now()},
	}
	return append(d, fields...)
}

// Metric sums a metric's values over those of its series that have the label values.
func Metric(t *testing.T, registry *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			have := []string{}
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			all := " " + strings.Join(have, " ") + " "
			matches := true
			for _, l := range labels {
				matches = matches && strings.Contains(all, " "+l+" ")
			}
			if matches {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// ToxiproxyLeaks ignores goroutines that a link of toxiproxy 2.5.0 leaks when a toxic
// closes it (timeout, reset_peer) while the toxic before it has a chunk to pass on:
// nothing receives the chunk any more. They hold no file.
func ToxiproxyLeaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
	}
}

// ModulePath returns the path of a file, given its path from the root of the module.
func ModulePath(t *testing.T, elements ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir}, elements...)...)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}
