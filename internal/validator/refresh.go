package validator

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

// refreshBatch is how many documents are read at once: as many as a server finds in
// about the time of a round trip.
const refreshBatch = 100

// longestBreath bounds the pause between two reads in a flood.
const longestBreath = 100 * time.Millisecond

// RunRefresh reads the documents that updates have touched, one read at a time, so
// that their keys are hits again before they are asked for. What has come up during
// a read, or in the pause after it, is in the next one, so that a flood of updates
// costs few reads. It returns nil when ctx ends. A refresh that fails is dropped: the next request reads.
func (v *Validator) RunRefresh(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-v.config.Cache.Refreshes():
			began := v.config.Now()
			v.refresh(ctx, v.batchFrom(id))
			v.breathe(ctx, v.config.Now().Sub(began))
		}
	}
}

// breathe leaves the database alone for as long as the last read took, if more is
// waiting: in a flood of updates, which is work enough for it, these reads take half
// of the time of one connection, and what is touched again meanwhile is read once.
func (v *Validator) breathe(ctx context.Context, took time.Duration) {
	if len(v.config.Cache.Refreshes()) == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-v.config.After(min(took, longestBreath)):
	}
}

// batchFrom is id and what else waits, each once.
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

// refresh is a fill by _id: an update does not show the hash. It is one fill for all
// of the documents, as a scan is: the ticket is older than the read, and each
// document is believed by its own stamps.
func (v *Validator) refresh(ctx context.Context, ids []apikey.DocID) {
	ctx, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	ticket := v.config.Cache.Begin()
	documents, err := v.config.Store.FindByIDs(ctx, ids, ticket.Floor())
	// Counted when it is done: who sees it counted finds the keys in the cache.
	defer func() { v.metrics.fill(kindRefresh, len(documents) > 0, err) }()
	if err != nil {
		v.logger.Debug("refresh after an update failed, the keys will be read when they are asked for", zap.Int("keys", len(ids)), zap.Error(err))
		return
	}
	for _, document := range documents {
		if document.HasHash {
			// Another document may have the same hash, which a read by _id does not see.
			v.config.Cache.StoreByID(ticket, document.Hash, findingOf(document, true))
		}
	}
}
