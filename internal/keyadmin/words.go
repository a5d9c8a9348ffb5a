package keyadmin

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
)

// inWords keeps err, and adds what the callers of this package know it by.
func inWords(err error) error {
	if err == nil {
		return nil
	}
	for _, pair := range []struct{ have, want error }{
		{keystore.ErrNoSuchKey, managedkey.ErrNoSuchKey},
		{keystore.ErrAmbiguousID, managedkey.ErrAmbiguousID},
		{keystore.ErrDuplicate, managedkey.ErrDuplicate},
		{keystore.ErrChanged, managedkey.ErrChanged},
		{keystore.ErrCannotHold, managedkey.ErrCannotHold},
		{keystore.ErrCursor, managedkey.ErrInput},
		{keystore.ErrUnauthorized, managedkey.ErrRefused},
	} {
		if errors.Is(err, pair.have) {
			return &said{pair.want, err}
		}
	}
	for _, known := range []error{managedkey.ErrInput, managedkey.ErrNotRotatable, managedkey.ErrChanged, managedkey.ErrUnavailable} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", managedkey.ErrUnavailable, err)
}

// said is an error whose text stays as it was.
type said struct{ kind, cause error }

func (s *said) Error() string   { return s.cause.Error() }
func (s *said) Unwrap() []error { return []error{s.kind, s.cause} }

func fieldsOf(f managedkey.Fields) keystore.Fields {
	return keystore.Fields{
		UserID: f.UserID, OrgID: f.OrgID, ProjectID: f.ProjectID, Name: f.Name,
		Scopes: f.Scopes, ClearScopes: f.ClearScopes, AllowedIPs: f.AllowedIPs, ExpiresAt: f.ExpiresAt, Metadata: f.Metadata,
	}
}

func keyOf(s keystore.Shown) managedkey.Key {
	return managedkey.Key{
		Record: s.Record, KeyPrefix: s.KeyPrefix, CreatedAt: s.CreatedAt, LastUsed: s.LastUsed,
		UsageCount: s.UsageCount, RotatedFrom: s.RotatedFrom, Digest: s.Digest,
	}
}

// difference is what two keys say otherwise, by role. Nil: there is no such key,
// and all that the other one says is there.
func difference(was, then *keystore.Shown) (before, after bson.RawValue) {
	old, next := roles(was), roles(then)
	var b, a bson.D
	for i := range max(len(old), len(next)) {
		switch {
		case was == nil:
			a = appendSaid(a, next[i])
		case then == nil:
			b = appendSaid(b, old[i])
		case !reflect.DeepEqual(old[i].Value, next[i].Value):
			b, a = append(b, old[i]), append(a, next[i])
		}
	}
	return document(was, b), document(then, a)
}

// appendSaid leaves out what is not said.
func appendSaid(d bson.D, e bson.E) bson.D {
	if e.Value == nil {
		return d
	}
	return append(d, e)
}

func document(of *keystore.Shown, d bson.D) bson.RawValue {
	null := bson.RawValue{Type: bson.TypeNull}
	if of == nil {
		return null
	}
	if d == nil {
		d = bson.D{}
	}
	raw, err := bson.Marshal(d)
	if err != nil {
		return null // texts, lists of texts and a document go into one
	}
	return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: raw}
}

// roles are what a key says, in one order; nil: nothing. Neither a hash nor a part
// of a secret is among them.
func roles(of *keystore.Shown) bson.D {
	if of == nil {
		return nil
	}
	r := &of.Record
	var scopes, networks any
	if r.Scopes != nil {
		scopes = bson.A(anyOf(r.Scopes))
	}
	if len(r.AllowedIPs) > 0 {
		texts := make([]string, len(r.AllowedIPs))
		for i, network := range r.AllowedIPs {
			texts[i] = network.String()
		}
		networks = bson.A(anyOf(texts))
	}
	return bson.D{
		{Key: "user_id", Value: orNil(r.UserID)},
		{Key: "org_id", Value: orNil(r.OrgID)},
		{Key: "project_id", Value: orNil(r.ProjectID)},
		{Key: "name", Value: orNil(r.Name)},
		{Key: "scopes", Value: scopes},
		{Key: "allowed_ips", Value: networks},
		{Key: "expires_at", Value: timeOrNil(r.ExpiresAt)},
		{Key: "metadata", Value: metadata(r.Metadata)},
		{Key: "is_active", Value: r.Active},
		{Key: "rotated_from", Value: orNil(of.RotatedFrom)},
	}
}

func anyOf(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func timeOrNil(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func metadata(text json.RawMessage) any {
	var doc bson.D
	if len(text) == 0 || bson.UnmarshalExtJSON(text, false, &doc) != nil {
		return nil
	}
	return doc
}
