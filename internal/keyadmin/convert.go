package keyadmin

import (
	"errors"
	"fmt"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
)

// toManagedKeyErr adds the error of package managedkey that callers know.
func toManagedKeyErr(err error) error {
	if err == nil {
		return nil
	}
	for _, pair := range []struct{ have, want error }{
		{keystore.ErrNoSuchKey, managedkey.ErrNoSuchKey},
		{keystore.ErrAmbiguousID, managedkey.ErrAmbiguousID},
		{keystore.ErrDuplicate, managedkey.ErrDuplicate},
		{keystore.ErrChanged, managedkey.ErrChanged},
		{keystore.ErrCannotStore, managedkey.ErrCannotStore},
		{keystore.ErrCursor, managedkey.ErrInvalid},
		{keystore.ErrSlowList, managedkey.ErrSlow},
		{keystore.ErrUnauthorized, managedkey.ErrRefused},
	} {
		if errors.Is(err, pair.have) {
			return &translated{pair.want, err}
		}
	}
	for _, known := range []error{managedkey.ErrInvalid, managedkey.ErrNotPermitted, managedkey.ErrNotRotatable, managedkey.ErrChanged, managedkey.ErrUnavailable, managedkey.ErrInterrupted} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", managedkey.ErrUnavailable, err)
}

// translated is an error of managedkey with the text of its cause.
type translated struct{ kind, cause error }

func (t *translated) Error() string   { return t.cause.Error() }
func (t *translated) Unwrap() []error { return []error{t.kind, t.cause} }

func fieldsOf(f managedkey.Fields) keystore.Fields {
	return keystore.Fields{
		UserID: f.UserID, OrgID: f.OrgID, ProjectID: f.ProjectID, Name: f.Name,
		Scopes: f.Scopes, ClearScopes: f.ClearScopes, AllowedIPs: f.AllowedIPs, ExpiresAt: f.ExpiresAt, Metadata: f.Metadata,
	}
}

func keyOf(s keystore.Details) managedkey.Key {
	return managedkey.Key{
		Record: s.Record, KeyPrefix: s.KeyPrefix, CreatedAt: s.CreatedAt, LastUsed: s.LastUsed,
		UsageCount: s.UsageCount, RotatedFrom: s.RotatedFrom, Digest: s.Digest,
	}
}
