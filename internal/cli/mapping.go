package cli

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/secretfile"
)

// hashSecret is the content of --map-hash-secret-file, nil without the flag.
func hashSecret(cfg *config.Config) ([]byte, error) {
	if cfg.Map.HashSecretFile == "" {
		return nil, nil
	}
	secret, err := secretfile.ReadSecretBytes(cfg.Map.HashSecretFile)
	if err != nil {
		return nil, ofFlag("map-hash-secret-file", err)
	}
	return secret, nil
}

// checkHash checks that the hash algorithm has a secret if it needs one.
func checkHash(cfg *config.Config) error {
	secret, err := hashSecret(cfg)
	if err == nil {
		_, err = schemaOf(cfg).Hasher(secret)
	}
	return err
}

// schemaOf is the collection and its mapping as the --map-* flags describe them.
func schemaOf(cfg *config.Config) keystore.Schema {
	m := &cfg.Map
	return keystore.Schema{
		Collection:    cfg.Collection,
		Hash:          m.Hash,
		HashAlgorithm: apikey.HashAlgorithm(m.HashAlgorithm),
		HashEncoding:  keystore.HashEncoding(m.HashEncoding),
		HashAfter:     m.HashAfter,
		Active:        m.Active,
		ActiveForm:    keystore.ActiveForm(m.ActiveForm),
		UserID:        m.UserID,
		UserIDForm:    keystore.IDForm(m.UserIDForm),
		OrgID:         m.OrgID,
		OrgIDForm:     keystore.IDForm(m.OrgIDForm),
		ProjectID:     m.ProjectID,
		ProjectIDForm: keystore.IDForm(m.ProjectIDForm),
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
	}
}
