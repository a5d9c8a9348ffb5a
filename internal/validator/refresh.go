package validator

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/timing"
)

// refreshBatch is how many documents are read with one command: as many as a
// server finds in about the time of a network round trip.
const refreshBatch = 100

// maxRefreshPause limits the pause between two reads while many updates arrive.
const maxRefreshPause = 100 * time.Millisecond

// RunRefresh reads the documents that updates have changed, one read at a time,
// so that their keys are cache hits again before a request needs them. Updates
// that arrive during a read, or in the pause after it, are in the next one, so
// that a flood of updates costs few reads. It returns nil when ctx ends. A
// refresh that fails is dropped: the next request reads the document.
func (v *Validator) RunRefresh(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-v.config.Cache.Refreshes():
			began := v.config.Now()
			v.refresh(ctx, v.batchFrom(id))
			v.pauseRefresh(ctx, v.config.Now().Sub(began))
		}
	}
}

// pauseRefresh waits for as long as the last read took, if more updates are waiting:
// in a flood of updates, which is load enough for the database, these reads
// then use half of the time of one connection, and a document that is updated
// again meanwhile is read once.
func (v *Validator) pauseRefresh(ctx context.Context, took time.Duration) {
	if len(v.config.Cache.Refreshes()) == 0 {
		return
	}
	timing.SleepOn(ctx, v.config.After, min(took, maxRefreshPause))
}

// batchFrom returns id and the other ids that are waiting, each once.
func (v *Validator) batchFrom(id apikey.DocID) []apikey.DocID {
	ids := []apikey.DocID{id}
	for len(ids) < refreshBatch {
		select {
		case id := <-v.config.Cache.Refreshes():
			ids = append(ids, id)
		default:
			return once(ids)
		}
	}
	return once(ids)
}

func once(ids []apikey.DocID) []apikey.DocID {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// refresh is a fill by _id, because an update event does not contain the hash.
// It is one fill for all of the documents, like a scan: the ticket is older
// than the read, and each document's entry is valid by its own stamps.
func (v *Validator) refresh(ctx context.Context, ids []apikey.DocID) {
	reading, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	ticket := v.config.Cache.Begin()
	documents, err := v.config.Store.FindByIDs(reading, ids, ticket.Floor())
	// Counted at the end, so that the keys are in the cache once the read is
	// counted.
	defer func() { v.metrics.read(kindRefresh, len(documents) > 0, err) }()
	if err != nil {
		if ctx.Err() == nil { // else the process stops
			v.warnOfRefresh(len(ids), err)
		}
		return
	}
	for _, document := range documents {
		if document.HasHash {
			// Another document may have the same hash, which a read by _id does
			// not see.
			v.config.Cache.StoreByID(ticket, document.Hash, findingOf(document, true))
		}
	}
}

// warnOfRefresh logs a failed refresh. While the database fails, each update can cause one.
func (v *Validator) warnOfRefresh(keys int, err error) {
	if skipped, ok := v.refreshLines.Allow(v.config.Now()); ok {
		v.logger.Warn("the refresh after an update failed, the next request for each key will read it: check that the database can be reached",
			zap.Int("keys", keys), zap.Int("times_since_last_line", skipped+1), zap.Error(err))
	}
}
