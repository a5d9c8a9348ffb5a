package keystore

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// IDForm is the BSON type in which keytail writes the ids of a role: users,
// organisations or projects. Reading accepts all of the forms.
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

// plural returns the form's name, for messages.
func (f IDForm) plural() string {
	switch f {
	case IDObjectID:
		return "ObjectIds"
	case IDUUID:
		return "UUIDs"
	case IDInteger:
		return "integers"
	case IDString:
	}
	return "strings"
}

// example describes the texts that the form can store, to follow "send".
func (f IDForm) example() string {
	switch f {
	case IDObjectID:
		return "24 lower-case hex digits"
	case IDUUID:
		return "a UUID such as 01234567-89ab-cdef-0123-456789abcdef, in lower case"
	case IDInteger:
		return "a whole number of 64 bits, without leading zeros"
	case IDString:
	}
	return "a text"
}

// stored returns the value in which the form stores an id. False: it cannot store
// this text. Two ids never have the same value: reading the value gives exactly
// this text.
func (f IDForm) stored(text string) (any, bool) {
	if f == "" || f == IDString {
		return text, true
	}
	for _, candidate := range idCandidates(text)[1:] {
		switch candidate.(type) {
		case bson.ObjectID:
			if f == IDObjectID {
				return candidate, true
			}
		case bson.Binary:
			if f == IDUUID {
				return candidate, true
			}
		case int64:
			if f == IDInteger {
				return candidate, true
			}
		}
	}
	return nil, false
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
