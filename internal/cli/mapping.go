package cli

import (
	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/keystore"
)

// schemaOf is the collection and its mapping as the --map-* flags describe them.
func schemaOf(cfg *config.Config) keystore.Schema {
	m := &cfg.Map
	return keystore.Schema{
		Collection:    cfg.Collection,
		Hash:          m.Hash,
		HashEncoding:  keystore.HashEncoding(m.HashEncoding),
		HashAfter:     m.HashAfter,
		Active:        m.Active,
		ActiveForm:    keystore.ActiveForm(m.ActiveForm),
		UserID:        m.UserID,
		OrgID:         m.OrgID,
		ProjectID:     m.ProjectID,
		Name:          m.Name,
		Scopes:        m.Scopes,
		ScopesForm:    keystore.ScopesForm(m.ScopesForm),
		DefaultScopes: cfg.DefaultScopes,
		AllowedIPs:    m.AllowedIPs,
		ExpiresAt:     m.ExpiresAt,
		ExpiresForm:   keystore.ExpiresForm(m.ExpiresForm),
		Metadata:      m.Metadata,
		KeyPrefix:     m.KeyPrefix,
		CreatedAt:     m.CreatedAt,
		LastUsed:      m.LastUsed,
		UsageCount:    m.UsageCount,
		IDForm:        keystore.IDForm(m.IDForm),
	}
}
