package keytail

import (
	"context"

	"github.com/keytail/keytail/internal/keyadmin"
	"github.com/keytail/keytail/internal/mongoclient"
)

// newKeys makes what looks after keys, or nil without admin tokens. A credential
// that may not write is refused.
func (p *parts) newKeys(ctx context.Context) (*keyadmin.Admin, error) {
	if p.admins == nil {
		return nil, nil //nolint:nilnil // off, and nothing wrong
	}
	keys, err := keyadmin.New(keyadmin.Config{
		Store:        p.store,
		Audit:        mongoclient.Database(p.config.Client, p.config.StateDatabase).Collection(keyadmin.CollectionName),
		Prefix:       p.config.KeyPrefix,
		EnsureSchema: p.config.EnsureSchema,
		Logger:       p.config.Logger,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return keys, keys.Prepare(ctx)
}
