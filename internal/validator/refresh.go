package validator

import (
	"context"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

// RunRefresh reads the documents that updates have touched, one at a time, so
// that their keys are hits again before they are asked for. It returns nil when
// ctx ends. A refresh that fails is dropped: the next request reads.
func (v *Validator) RunRefresh(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-v.config.Cache.Refreshes():
			v.refresh(ctx, id)
		}
	}
}

// refresh is a fill by _id: an update does not show the hash.
func (v *Validator) refresh(ctx context.Context, id apikey.DocID) {
	ctx, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	ticket := v.config.Cache.Begin()
	document, found, err := v.config.Store.FindByID(ctx, id, ticket.Floor())
	v.metrics.fill(kindRefresh, found, err)
	if err != nil {
		v.logger.Debug("refresh after an update failed, the key will be read when it is asked for", zap.Error(err))
		return
	}
	if found && document.HasHash {
		v.config.Cache.Store(ticket, document.Hash, findingOf(document, found))
	}
}
