package keystore

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

type byIDsFinder interface {
	FindByIDs(ctx context.Context, ids []apikey.DocID, after clustertime.Time) ([]Document, error)
}

// findByID is FindByIDs for one id.
func findByID(ctx context.Context, s byIDsFinder, id apikey.DocID, after clustertime.Time) (Document, bool, error) {
	documents, err := s.FindByIDs(ctx, []apikey.DocID{id}, after)
	if err != nil || len(documents) == 0 {
		return Document{}, false, err
	}
	return documents[0], true, nil
}
