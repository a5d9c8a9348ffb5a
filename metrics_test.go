package keytail

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestNewLeavesNoMetricsAfterAnError: a program that waits for its database calls New
// until it works.
func TestNewLeavesNoMetricsAfterAnError(t *testing.T) {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1").SetServerSelectionTimeout(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	registry := prometheus.NewRegistry()
	for range 2 {
		_, err := New(t.Context(), Config{Client: client, Database: "d", Registerer: registry})
		if err == nil || strings.Contains(err.Error(), "Registerer") {
			t.Errorf("want an error about the server, got %v", err)
		}
	}
	if metrics, err := registry.Gather(); err != nil || len(metrics) != 0 {
		t.Errorf("%d metrics are left, %v", len(metrics), err)
	}
}

func TestASecondServiceNeedsAnotherRegisterer(t *testing.T) {
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
	first, second := newRegistrations(registry), newRegistrations(registry)
	if err := first.Register(gauge); err != nil {
		t.Fatal(err)
	}
	if err := second.Register(gauge); err == nil || !strings.Contains(err.Error(), "Config.Registerer") {
		t.Errorf("the error does not name the field: %v", err)
	}
	second.unregister()
	if metrics, _ := registry.Gather(); len(metrics) != 1 {
		t.Error("the second has unregistered what is the first's")
	}
	first.unregister()
	if err := second.Register(gauge); err != nil {
		t.Errorf("after the first is gone: %v", err)
	}
}
