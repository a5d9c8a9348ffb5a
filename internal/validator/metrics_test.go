package validator

import (
	"context"
	"errors"
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/keystore"
)

// TestLabelsAreListed: a read or a flight of a kind that the lists lack would have a
// series that begins at 1.
func TestLabelsAreListed(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`(?m)^\tkind\w+ +readKind = "`).FindAll(source, -1)); n != len(readKinds) {
		t.Errorf("there are %d kinds of reads, and readKinds has %d", n, len(readKinds))
	}
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		series int
		vector prometheus.Collector
	}{{"reads", 18, m.reads}, {"joined", 3, m.joined}, {"revalidations", 2, m.revalidations}} {
		if n := testutil.CollectAndCount(c.vector); n != c.series {
			t.Errorf("%s: %d series at the start, want %d", c.name, n, c.series)
		}
	}
}

// TestEveryReasonIsExportedFromTheStart, so that an alert on a rise notices the
// first count of each reason, too.
func TestEveryReasonIsExportedFromTheStart(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := testutil.CollectAndCount(m.outages)
	for _, err := range []error{
		errBusy, errUnreached, errBreaker, errStale, keystore.ErrCollectionMissing, keystore.ErrRevisionAhead,
		context.Canceled, context.DeadlineExceeded, errors.New("another"),
	} {
		m.unavailable(err)
	}
	if after := testutil.CollectAndCount(m.outages); before != 9 || after != before {
		t.Errorf("%d series at the start and %d later, want 9", before, after)
	}
}
