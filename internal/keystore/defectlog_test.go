package keystore

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
)

// observed returns a Store without a server, its log and its metrics.
func observed(t *testing.T) (*Store, *observer.ObservedLogs, *prometheus.Registry) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	registry := prometheus.NewRegistry()
	s, err := New(Config{Client: &mongo.Client{}, Database: "shop", Logger: zap.New(core), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	return s, logs, registry
}

func defective(id string) Document {
	return Document{ID: apikey.DocID(id), HasHash: true, Record: apikey.Record{KeyID: id, Defect: "user_id is missing"}}
}

func TestDefectiveDocumentIsCountedEachTimeAndLoggedOnce(t *testing.T) {
	t.Parallel()
	s, logs, registry := observed(t)
	s.Report(Document{ID: "fine", Record: apikey.Record{KeyID: "fine"}})
	for range 3 {
		s.Report(defective("a"))
		s.Report(defective("b"))
	}
	want := `
# HELP keytail_defective_documents_total Reads of documents that cannot be decoded as keys. Each document is logged once by its _id, up to a limit.
# TYPE keytail_defective_documents_total counter
keytail_defective_documents_total 6
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "keytail_defective_documents_total"); err != nil {
		t.Error(err)
	}
	if logs.Len() != 2 {
		t.Fatalf("got %d lines, want 2: %v", logs.Len(), logs.All())
	}
	fields := logs.All()[0].ContextMap()
	if fields["key_id"] != "a" || fields["defect"] != "user_id is missing" || fields["collection"] != "shop.api_keys" {
		t.Errorf("got %v", fields)
	}
}

func TestMemoryOfDefectsIsBounded(t *testing.T) {
	t.Parallel()
	s, logs, _ := observed(t)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range maxRemembered {
				s.Report(defective(fmt.Sprint(worker, " ", i)))
			}
		})
	}
	all.Wait()
	if n := len(s.disabled.logged); n != maxRemembered+1 {
		t.Errorf("%d ids are remembered", n)
	}
	if got := logs.FilterMessageSnippet("too many").Len(); got != 1 {
		t.Errorf("the limit of logging is logged %d times", got)
	}
	if logs.Len() != maxRemembered+1 {
		t.Errorf("got %d lines, want %d and the last", logs.Len(), maxRemembered)
	}
}

// During a migration that mixes hashes, a collection has any number of
// documents that no lookup finds.
func TestFewDocumentsWithoutAHashAreLogged(t *testing.T) {
	t.Parallel()
	s, logs, _ := observed(t)
	for i := range 1000 {
		s.Report(Document{ID: apikey.DocID(fmt.Sprint(i)), Record: apikey.Record{KeyID: fmt.Sprint(i), Defect: "key_hash is missing"}})
	}
	if got := logs.FilterMessageSnippet("no key matches it").Len(); got != maxUnfindable {
		t.Errorf("%d documents were named, want %d", got, maxUnfindable)
	}
	if logs.Len() != maxUnfindable+1 || len(s.unfindable.logged) != maxUnfindable+1 {
		t.Errorf("got %d lines and remembered %d", logs.Len(), len(s.unfindable.logged))
	}
	s.Report(defective("a key"))
	if got := logs.FilterMessageSnippet("it is DISABLED").Len(); got != 1 {
		t.Error("a defective key is not logged any more")
	}
}

func TestOneMetricForTwoStoresIsRefused(t *testing.T) {
	t.Parallel()
	_, _, registry := observed(t)
	_, err := New(Config{Client: &mongo.Client{}, Database: "shop", Registerer: registry})
	if err == nil || !strings.Contains(err.Error(), "keytail_defective_documents_total") {
		t.Errorf("got %v", err)
	}
}
