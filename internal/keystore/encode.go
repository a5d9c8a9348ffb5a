package keystore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strconv"
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
		s.encodeID(&e, f.UserID, s.UserID, "a user id", "map-user-id"),
		s.encodeID(&e, f.OrgID, s.OrgID, "an organisation", "map-org-id"),
		s.encodeID(&e, f.ProjectID, s.ProjectID, "a project", "map-project-id"),
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

func (s Schema) encodeID(e *edit, id *string, name, what, flag string) error {
	if id != nil && *id == "" && name == s.UserID {
		return explained(ErrCannotStore, "a key needs a user id")
	}
	if id == nil || *id == "" {
		return encodeRole(e, name, what, flag, id, true, nil)
	}
	value, err := s.IDForm.stored(*id)
	if err != nil {
		return err
	}
	return encodeRole(e, name, what, flag, id, false, func(string) any { return value })
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

// IDForm is the BSON type in which keytail writes the ids of users,
// organisations and projects. Reading accepts all of the forms.
type IDForm string

// The forms of ids.
const (
	IDString   IDForm = "string"
	IDObjectID IDForm = "objectid"
	// IDUUID is binary data of subtype 4.
	IDUUID IDForm = "uuid"
	// IDInteger is an int64.
	IDInteger IDForm = "integer"
)

// IDForms returns all forms. The first is the default.
func IDForms() []IDForm { return []IDForm{IDString, IDObjectID, IDUUID, IDInteger} }

// stored returns the stored value of an id. Two ids never have the same value:
// reading the value gives exactly this text.
func (f IDForm) stored(text string) (any, error) {
	if f == "" || f == IDString {
		return text, nil
	}
	for _, candidate := range idCandidates(text)[1:] {
		switch candidate.(type) {
		case bson.ObjectID:
			if f == IDObjectID {
				return candidate, nil
			}
		case bson.Binary:
			if f == IDUUID {
				return candidate, nil
			}
		case int64:
			if f == IDInteger {
				return candidate, nil
			}
		}
	}
	return nil, explained(ErrCannotStore, "ids of this collection are stored with --map-id-form %s, and this id does not have that form", f)
}

// idCandidates returns all values that have this text, the string first.
func idCandidates(text string) bson.A {
	candidates := bson.A{text}
	if id, err := bson.ObjectIDFromHex(text); err == nil && id.Hex() == text {
		candidates = append(candidates, id)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		candidates = append(candidates, n)
	}
	if u, err := uuidBytes(text); err == nil && uuidText(u) == text {
		candidates = append(candidates, bson.Binary{Subtype: bson.TypeBinaryUUID, Data: u})
	}
	return candidates
}

// uuidBytes reads the text form of RFC 9562, section 4.
func uuidBytes(text string) ([]byte, error) {
	const size = 16
	u, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err == nil && len(u) != size {
		err = errors.New("a UUID has 16 bytes")
	}
	return u, err
}
