package keystore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
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
# HELP keytail_defective_documents_total Reads of documents that cannot be decoded as keys. The log has the _ids of some, and the reasons.
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

// TestManyDefectiveDocumentsAreFewLines: a wrong mapping makes all documents
// defective.
func TestManyDefectiveDocumentsAreFewLines(t *testing.T) {
	t.Parallel()
	s, logs, _ := observed(t)
	clock := time.Date(2026, 11, 30, 6, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return clock }
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 1000 {
				s.Report(defective(fmt.Sprint(worker, " ", i)))
			}
		})
	}
	all.Wait()
	wantReads := func(want ...int64) {
		t.Helper()
		if got := logs.FilterMessageSnippet("it is DISABLED").Len(); got != maxLogged {
			t.Errorf("%d documents were named, want %d", got, maxLogged)
		}
		var got []int64
		for _, line := range logs.FilterMessageSnippet("more documents cannot be read").All() {
			got = append(got, line.ContextMap()["reads"].(int64))
		}
		if !slices.Equal(got, want) {
			t.Errorf("lines with a number: %v, want %v", got, want)
		}
		if len(s.disabled.named) != maxLogged {
			t.Errorf("%d ids are remembered", len(s.disabled.named))
		}
	}
	wantReads(1)
	clock = clock.Add(logCountEach - 1)
	s.Report(defective("late"))
	wantReads(1)
	clock = clock.Add(1)
	s.Report(defective("later"))
	wantReads(1, 4000-maxLogged-1+2)
	s.Report(defective("later"))
	wantReads(1, 4000-maxLogged-1+2)
}

// TestDocumentsWithoutAHashAreLoggedApart: during a migration that mixes hashes,
// a collection has any number of documents that no lookup finds.
func TestDocumentsWithoutAHashAreLoggedApart(t *testing.T) {
	t.Parallel()
	s, logs, _ := observed(t)
	for i := range 1000 {
		s.Report(Document{ID: apikey.DocID(fmt.Sprint(i)), Record: apikey.Record{KeyID: fmt.Sprint(i), Defect: "key_hash is missing"}})
	}
	if got := logs.FilterMessageSnippet("no key matches it").Len(); got != maxLogged || logs.Len() != maxLogged+1 {
		t.Errorf("%d documents were named in %d lines", got, logs.Len())
	}
	s.Report(defective("a key"))
	if got := logs.FilterMessageSnippet("it is DISABLED").Len(); got != 1 {
		t.Error("a defective key is not logged any more")
	}
}

func TestManySharedHashesAreFewLines(t *testing.T) {
	t.Parallel()
	s, logs, _ := observed(t)
	for i := range 1000 {
		a, b := defective(fmt.Sprint("a", i)), defective(fmt.Sprint("b", i))
		s.ambiguous([]Document{a, b})
		s.ambiguous([]Document{b, a})
	}
	if got := logs.FilterMessageSnippet("documents share a hash").Len(); got != maxLogged+1 {
		t.Errorf("got %d lines", got)
	}
}

// TestAScanLogsItsDefectiveDocumentsInOneLine, again in each scan.
func TestAScanLogsItsDefectiveDocumentsInOneLine(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		var docs []any
		for i := range 300 {
			doc := keyOf(t, fmt.Sprintf("k%03d", i), unreadable())
			if i%3 == 0 {
				doc = keyOf(t, fmt.Sprintf("k%03d", i), bson.E{Key: "key_hash", Value: "$2b$10$leak"})
			}
			docs = append(docs, doc)
		}
		p, logs := storeOf(t, s, append(docs, keyOf(t, "good"))...)
		for scan := range 2 {
			if err := p.Scan(testContext(t), 0, func(*Document) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if logs.Len() != scan+1 {
				t.Fatalf("scan %d: the log has %d lines", scan, logs.Len())
			}
		}
		got := logs.All()[0].ContextMap()
		want := map[string]any{
			"collection": p.Namespace(), "read": int64(301), "disabled": int64(200), "without_hash": int64(100),
			"key_ids": []any{"k000", "k001", "k002", "k003", "k004", "k005", "k006", "k007", "k008", "k009"},
			"defects": []any{"user_id is missing (200)", "key_hash is not a SHA-256 hash of 64 lower-case hex digits (100)"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if _, err := p.keys.DeleteMany(testContext(t), bson.D{{Key: "_id", Value: bson.D{{Key: "$ne", Value: "good"}}}}); err != nil {
			t.Fatal(err)
		}
		if err := p.Scan(testContext(t), 0, func(*Document) error { return nil }); err != nil || logs.Len() != 2 {
			t.Errorf("a scan of good documents: %v, the log: %v", err, logs.All())
		}
	})
}

// TestReasonsOfAScanAreBounded: a reason may contain the number of an element.
func TestReasonsOfAScanAreBounded(t *testing.T) {
	t.Parallel()
	var c scanDefects
	for i := range 1000 {
		c.see(&Document{Record: apikey.Record{KeyID: "a", Defect: fmt.Sprint("element ", i)}})
	}
	if len(c.reasons) != maxScanReasons || c.unfindable != 1000 || len(c.ids) != maxLogged {
		t.Errorf("%d reasons, %+v", len(c.reasons), c)
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
