package keyadmin

import (
	"encoding/json"
	"reflect"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
)

// difference has the fields in which two keys differ, by role. Nil means that the
// key does not exist: then the other side has all its fields.
func difference(before, after *keystore.Details) (changedFrom, changedTo bson.RawValue) {
	old, next := fieldsByRole(before), fieldsByRole(after)
	var b, a bson.D
	for i := range max(len(old), len(next)) {
		switch {
		case before == nil:
			a = appendPresent(a, next[i])
		case after == nil:
			b = appendPresent(b, old[i])
		case !reflect.DeepEqual(old[i].Value, next[i].Value):
			b, a = append(b, old[i]), append(a, next[i])
		}
	}
	return document(before, b), document(after, a)
}

// appendPresent omits a field without a value.
func appendPresent(d bson.D, e bson.E) bson.D {
	if e.Value == nil {
		return d
	}
	return append(d, e)
}

func document(of *keystore.Details, d bson.D) bson.RawValue {
	null := bson.RawValue{Type: bson.TypeNull}
	if of == nil {
		return null
	}
	if d == nil {
		d = bson.D{}
	}
	raw, err := bson.Marshal(d)
	if err != nil {
		return null // strings, lists of strings and a document always marshal
	}
	return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: raw}
}

// fieldsByRole are the fields of a key in a fixed order; nil: no value. Neither a
// hash nor a part of a secret is among them.
func fieldsByRole(of *keystore.Details) bson.D {
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
