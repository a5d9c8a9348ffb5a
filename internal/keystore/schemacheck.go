package keystore

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/keytail/keytail/internal/apikey"
)

// Validate returns all mistakes, joined, or nil. Each mistake is a sentence
// that names the flag. Hasher finds those of the secret.
func (s Schema) Validate() error {
	return errors.Join(checkCollection(s.Collection), s.CheckMapping())
}

// CheckMapping is Validate without the check of the collection's name.
func (s Schema) CheckMapping() error {
	mistakes := []error{
		valid("map-hash-algorithm", s.HashAlgorithm, apikey.HashAlgorithms()),
		valid("map-hash-encoding", s.HashEncoding, HashEncodings()),
		valid("map-active-form", s.ActiveForm, ActiveForms()),
		valid("map-scopes-form", s.ScopesForm, ScopesForms()),
		valid("map-expires-form", s.ExpiresForm, ExpiresForms()),
		valid("map-user-id-form", s.UserIDForm, IDForms()),
		valid("map-org-id-form", s.OrgIDForm, IDForms()),
		valid("map-project-id-form", s.ProjectIDForm, IDForms()),
		s.checkHashAfter(),
		s.checkActiveName(),
	}
	taken := make(map[string]field)
	for _, f := range s.fields() {
		mistakes = append(mistakes, f.check())
		if f.name == "" {
			continue
		}
		if first, twice := taken[f.name]; twice {
			mistakes = append(mistakes, fmt.Errorf("the fields for %s and %s are both called %q: use different names (--%s, --%s)",
				first.role, f.role, f.name, first.flag, f.flag))
		}
		taken[f.name] = f
	}
	return errors.Join(append(mistakes, s.checkScopes()...)...)
}

func (s Schema) checkHashAfter() error {
	if err := apikey.ValidHashAfter(s.HashAfter); err != nil {
		return fmt.Errorf("--map-hash-after: %w", err)
	}
	return nil
}

func (s Schema) checkScopes() []error {
	var mistakes []error
	for i, scope := range s.DefaultScopes {
		if err := apikey.ValidScope(scope); err != nil {
			mistakes = append(mistakes, fmt.Errorf("--default-scopes, scope %d: %w", i+1, err))
		}
	}
	return mistakes
}

// requirement is whether a role needs a field.
type requirement int

const (
	optional requirement = iota
	required
	// forbidden: the form of the role has no such field.
	forbidden
)

// absence is what it means that a document does not have the field of a role.
type absence int

const (
	// harmless: without the field, the key may do no more than with it.
	harmless absence = iota
	// widens: without the field, the key may do more. If no document has the
	// field, its name may be wrong.
	widens
	// breaks: without the field, the document is not a key.
	breaks
)

// field is one field name of a Schema, with its role and the flag that sets it.
type field struct {
	role, name, flag string
	need             requirement
	absence          absence
}

// roleHash is the role of the hash field. A nested name of this field has its
// own error message.
const roleHash = "the hash"

const roleExpiry = "the expiry"

func (s Schema) fields() []field {
	return []field{
		{roleHash, s.Hash, "map-hash", required, breaks},
		s.activeField(),
		{"the user id", s.UserID, "map-user-id", required, breaks},
		{"the org id", s.OrgID, "map-org-id", optional, widens},
		{"the project id", s.ProjectID, "map-project-id", optional, widens},
		{"the name", s.Name, "map-name", optional, harmless},
		{"the scopes", s.Scopes, "map-scopes", optional, s.scopesAbsence()},
		{"the allowed IPs", s.AllowedIPs, "map-allowed-ips", optional, widens},
		{roleExpiry, s.ExpiresAt, "map-expires-at", optional, widens},
		{"the metadata", s.Metadata, "map-metadata", optional, harmless},
		{"the key prefix", s.KeyPrefix, "map-key-prefix", optional, harmless},
		{"the creation time", s.CreatedAt, "map-created-at", optional, harmless},
		{"the last use", s.LastUsed, "map-last-used", optional, harmless},
		{"the usage count", s.UsageCount, "map-usage-count", optional, harmless},
	}
}

func (s Schema) activeField() field {
	f := field{"the active switch", s.Active, "map-active", required, widens}
	switch {
	case s.ActiveForm == ActiveAlways:
		f.need = forbidden
	case s.ActiveForm.required():
		f.absence = breaks
	}
	return f
}

func (s Schema) scopesAbsence() absence {
	if len(s.DefaultScopes) > 0 {
		return widens
	}
	return harmless
}

// check returns an error if the name cannot be that of a root field.
func (f field) check() error {
	problem := f.problem()
	if problem == "" {
		return nil
	}
	return fmt.Errorf("the field for %s %s (--%s)", f.role, problem, f.flag)
}

// problem returns what is wrong with the field, as words that follow its role.
// Empty: nothing.
func (f field) problem() string {
	switch {
	case f.name == "" && f.need == required:
		return "has no name"
	case f.name == "":
		return ""
	case f.need == forbidden:
		return fmt.Sprintf("is %q, but --map-active-form %s says that there is none: make its name empty", f.name, ActiveAlways)
	case f.name == idField:
		return "is _id, which is the document's identity: use another field"
	case f.name == rotatedFromField:
		return "is rotated_from, which keytail writes itself: use another field"
	case f.role == roleHash && strings.Contains(f.name, "."):
		return fmt.Sprintf("is %q, a nested path: updates of a nested field do not name it, so a change would go unseen; use a field of the root", f.name)
	case strings.Contains(f.name, "."):
		return fmt.Sprintf("is %q, a nested path: use a field of the root", f.name)
	case strings.HasPrefix(f.name, "$"):
		return fmt.Sprintf("is %q: a name that starts with $ is an operator", f.name)
	case strings.ContainsRune(f.name, 0) || !utf8.ValidString(f.name):
		return fmt.Sprintf("is %q, which MongoDB cannot store", f.name)
	}
	return ""
}

// reservedPrefix begins the names of the collections that keytail creates for
// itself.
const reservedPrefix = "keytail_"

// checkCollection returns an error if the name cannot be that of a collection
// of keys.
func checkCollection(name string) error {
	switch {
	case name == "":
		return errors.New("the collection has no name")
	case strings.Contains(name, "$") || strings.ContainsRune(name, 0) || !utf8.ValidString(name):
		return fmt.Errorf("the collection is called %q: MongoDB does not allow this name", name)
	case strings.HasPrefix(name, "system."):
		return fmt.Errorf("the collection is called %q: system.* is reserved for the server", name)
	case strings.HasPrefix(name, reservedPrefix):
		return fmt.Errorf("the collection is called %q: %s* is reserved for keytail", name, reservedPrefix)
	case strings.HasPrefix(name, ".") || strings.HasSuffix(name, "."):
		return fmt.Errorf("the collection is called %q: a name neither starts nor ends with a dot", name)
	}
	return nil
}
