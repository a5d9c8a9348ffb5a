package keystore

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// ErrCannotStore means that the collection, with this mapping, cannot store
// what is to be written.
var ErrCannotStore = errors.New("the collection cannot store this")

// notMapped returns an error that names a role and the flag that would map it
// to a field.
func notMapped(what, flag string) error {
	return explained(ErrCannotStore, "this collection has no field for %s: leave it out, or name the field with --%s", what, flag)
}

// Fields are the fields of a key that a caller can set. For a new key, a nil
// field is absent; for a change, a nil field stays as it is. A pointer to the
// zero value removes the field. The exception is Scopes: an empty list means
// "no scopes", and ClearScopes removes the field.
type Fields struct {
	UserID, OrgID, ProjectID, Name *string
	Scopes                         *[]string
	ClearScopes                    bool
	AllowedIPs                     *[]netip.Prefix
	ExpiresAt                      *time.Time
	// Metadata is a JSON object. A pointer to nil removes it.
	Metadata *json.RawMessage
	// Active switches the key on or off.
	Active *bool
}

// edit is the change of root fields that a write makes.
type edit struct{ set, unset bson.D }

func (e *edit) put(name string, value any) { e.set = append(e.set, bson.E{Key: name, Value: value}) }

func (e *edit) drop(name string) { e.unset = append(e.unset, bson.E{Key: name, Value: ""}) }

// update returns the edit as an update document. Nil: there is nothing to
// change.
func (e *edit) update() bson.D {
	var u bson.D
	if len(e.set) > 0 {
		u = append(u, bson.E{Key: "$set", Value: e.set})
	}
	if len(e.unset) > 0 {
		u = append(u, bson.E{Key: "$unset", Value: e.unset})
	}
	return u
}

// encode writes fields in the forms of the schema. The error joins everything
// that is wrong; each part is ErrCannotStore for errors.Is. now is the date of
// a revocation, where the switch is a date.
func (s Schema) encode(f Fields, now time.Time) (edit, error) {
	var e edit
	return e, errors.Join(
		s.encodeUserID(&e, f.UserID),
		encodeID(&e, f.OrgID, idRole{"org_id", "an organisation", "map-org-id", s.OrgID, s.OrgIDForm}),
		encodeID(&e, f.ProjectID, idRole{"project_id", "a project", "map-project-id", s.ProjectID, s.ProjectIDForm}),
		s.encodeName(&e, f.Name),
		s.encodeScopes(&e, f),
		s.encodeNetworks(&e, f.AllowedIPs),
		s.encodeExpiry(&e, f.ExpiresAt),
		s.encodeMetadata(&e, f.Metadata),
		s.encodeActive(&e, f.Active, now),
	)
}

// encodeRole sets or removes the field of a role that may have no name.
func encodeRole[T any](e *edit, name, what, flag string, value *T, empty bool, stored func(T) any) error {
	switch {
	case value == nil:
	case name == "" && empty: // nothing to remove
	case name == "":
		return notMapped(what, flag)
	case empty:
		e.drop(name)
	default:
		e.put(name, stored(*value))
	}
	return nil
}

func (s Schema) encodeUserID(e *edit, id *string) error {
	if id != nil && *id == "" {
		return explained(ErrCannotStore, "a key needs a user id")
	}
	return encodeID(e, id, idRole{"user_id", "a user id", "map-user-id", s.UserID, s.UserIDForm})
}

// idRole is a role whose field contains an id.
type idRole struct {
	// param is its name in the admin API.
	param string
	// what is in words, and flag names the field.
	what, flag string
	field      string
	form       IDForm
}

func encodeID(e *edit, id *string, role idRole) error {
	if id == nil || *id == "" || role.field == "" {
		return encodeRole(e, role.field, role.what, role.flag, id, id != nil && *id == "", nil)
	}
	value, ok := role.form.stored(*id)
	if !ok {
		return explained(ErrCannotStore, "%s: the mapping says that ids in %s are %s (--%s-form %s), so %q cannot be written there: send %s",
			role.param, role.field, role.form.plural(), role.flag, role.form, *id, role.form.example())
	}
	return encodeRole(e, role.field, role.what, role.flag, id, false, func(string) any { return value })
}

func (s Schema) encodeName(e *edit, name *string) error {
	return encodeRole(e, s.Name, "a name", "map-name", name, name != nil && *name == "", func(n string) any { return n })
}

func (s Schema) encodeScopes(e *edit, f Fields) error {
	if f.ClearScopes {
		return encodeRole(e, s.Scopes, "scopes", "map-scopes", &[]string{}, true, nil)
	}
	if f.Scopes != nil && s.Scopes == "" {
		return notMapped("scopes", "map-scopes")
	}
	return encodeRole(e, s.Scopes, "scopes", "map-scopes", f.Scopes, false, func(scopes []string) any {
		if s.ScopesForm == ScopesText {
			return strings.Join(scopes, " ")
		}
		return append([]string{}, scopes...) // an empty array, never null
	})
}

func (s Schema) encodeNetworks(e *edit, networks *[]netip.Prefix) error {
	return encodeRole(e, s.AllowedIPs, "an allow-list", "map-allowed-ips", networks, networks != nil && len(*networks) == 0, func(list []netip.Prefix) any {
		texts := make([]string, len(list))
		for i, network := range list {
			texts[i] = apikey.NetworkText(network)
		}
		return texts
	})
}

func (s Schema) encodeExpiry(e *edit, at *time.Time) error {
	return encodeRole(e, s.ExpiresAt, "an expiry", "map-expires-at", at, at != nil && at.IsZero(), s.ExpiresForm.stored)
}

func (s Schema) encodeMetadata(e *edit, metadata *json.RawMessage) error {
	if metadata == nil || len(*metadata) == 0 {
		return encodeRole(e, s.Metadata, "metadata", "map-metadata", metadata, true, nil)
	}
	var doc bson.Raw
	if err := bson.UnmarshalExtJSON(*metadata, false, &doc); err != nil {
		return explained(ErrCannotStore, "metadata must be a JSON object that MongoDB can store")
	}
	if !isStorable(doc, maxNesting) {
		return explained(ErrCannotStore, "metadata may be nested %d deep, and no name in it may begin with $, except as in MongoDB Extended JSON", maxNesting)
	}
	return encodeRole(e, s.Metadata, "metadata", "map-metadata", metadata, false, func(json.RawMessage) any { return doc })
}

// maxNesting keeps metadata far below the limit of 100 levels in a document.
const maxNesting = 32

// isStorable reports whether every server version accepts a document as a part
// of another one: servers before MongoDB 5.0 reject names with a $, and with
// later ones such names cause trouble in filters.
func isStorable(doc bson.Raw, depth int) bool {
	elements, err := elements(doc)
	if err != nil || depth == 0 {
		return false
	}
	return !slices.ContainsFunc(elements, func(e bson.RawElement) bool {
		value := e.Value()
		nested, ok := value.DocumentOK()
		if array, isArray := value.ArrayOK(); isArray {
			nested, ok = bson.Raw(array), true
		}
		return strings.HasPrefix(e.Key(), "$") || ok && !isStorable(nested, depth-1)
	})
}

// encodeActive writes the switch. In a form in which an absent field means
// "on", a new key gets no field.
func (s Schema) encodeActive(e *edit, active *bool, now time.Time) error {
	switch {
	case active == nil:
	case s.ActiveForm == ActiveAlways && *active:
	case s.ActiveForm == ActiveAlways:
		return explained(ErrCannotStore, "keys of this collection have no switch (--map-active-form always), so a key cannot be revoked: delete it, or set its expiry")
	case s.ActiveForm == ActiveNoDate && *active:
		e.drop(s.Active)
	case s.ActiveForm == ActiveNoDate:
		e.put(s.Active, bson.NewDateTimeFromTime(now))
	default:
		e.put(s.Active, *active != (s.ActiveForm == ActiveNegated))
	}
	return nil
}
