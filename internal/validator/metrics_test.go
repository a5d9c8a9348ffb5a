package validator

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/keystore"
)

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
