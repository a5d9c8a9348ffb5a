package keystore

import (
	"fmt"
	"strings"
)

const (
	// maxReasons and maxIDs limit the length of a warning, because a person
	// reads it in a log.
	maxReasons = 3
	maxIDs     = 3
)

// seeAdopt ends a message whose remedy takes more than a sentence.
const seeAdopt = "(docs/adopt-your-collection.md)"

// StartError returns why keytail refuses to start with this collection, in
// words that say what to do, or nil. For errors.Is it is ErrNoKeys if no
// document can be read as a key, and ErrUnusable if the mapping is probably
// wrong. A collection without documents is fine, and so is one in which a key
// can be used now. One in which none can is fine if the operator gave the form
// that decides so.
func (s *Survey) StartError() error {
	if s.Documents == 0 {
		return nil
	}
	if err := s.missingFieldsError(); err != nil {
		return err
	}
	if s.Readable[s.schema.HashEncoding.orDefault()] == 0 {
		return explained(ErrNoKeys, "%s %s %s in %s: %s", s.none("has", "does not have"), s.schema.aHash(), s.schema.HashEncoding.description(), s.schema.Hash, s.hashAdvice())
	}
	if err := s.encodingError(); err != nil {
		return err
	}
	if s.keyIDs > 0 {
		return explained(ErrUnusable, "the _id is the key itself in %s: keytail shows the _id of a key in answers, lists and its log, so give each document another _id", s.some(s.keyIDs))
	}
	if err := s.datesError(); err != nil {
		return err
	}
	if err := s.unreadableError(); err != nil {
		return err
	}
	return s.unusableError()
}

// missingFieldsError is for a required field that no document has: the field
// must have another name.
func (s *Survey) missingFieldsError() error {
	var names []string
	for _, f := range s.Fields {
		if f.absence == breaks && f.Present == 0 {
			names = append(names, fmt.Sprintf("%s (%s, --%s)", f.Field, f.Role, f.Flag))
		}
	}
	if names == nil {
		return nil
	}
	they := "they have"
	if s.Documents == 1 {
		they = "it has"
	}
	return explained(ErrNoKeys, "%s field %s: name the field that %s", s.none("has a", "has no"), strings.Join(names, " or "), they)
}

// encodingError is for a hash that another encoding can read in all documents,
// and the declared one in some: most base64 texts have a character that base64url
// does not have, so with the wrong one of the two most keys are never found.
func (s *Survey) encodingError() error {
	declared := s.schema.HashEncoding.orDefault()
	if s.Readable[declared] == s.hashes {
		return nil
	}
	for _, e := range HashEncodings() {
		if s.Readable[e] == s.hashes {
			return explained(ErrUnusable, "only %d of the %d hashes in %s in the %s can be read as %s, and all as %s: set --map-hash-encoding=%s",
				s.Readable[declared], s.hashes, s.schema.Hash, s.sampleText(), declared, e, e)
		}
	}
	return nil
}

// sampleText describes the documents of the survey, to follow "of the" or "in
// the".
func (s *Survey) sampleText() string {
	if s.Documents == 1 {
		return "only document read from " + s.Namespace
	}
	return fmt.Sprintf("%d documents read from %s", s.Documents, s.Namespace)
}

// none begins a sentence about all documents: that none of them does something, or
// that the only one does not.
func (s *Survey) none(does, doesNot string) string {
	if s.Documents == 1 {
		return "the " + s.sampleText() + " " + doesNot
	}
	return "none of the " + s.sampleText() + " " + does
}

// some begins a sentence about n of the documents.
func (s *Survey) some(n int) string {
	if s.Documents == 1 {
		return "the " + s.sampleText()
	}
	return fmt.Sprintf("%d of the %s", n, s.sampleText())
}

// hashAdvice describes what the hash field contains most often, and what to do
// about it.
func (s *Survey) hashAdvice() string {
	most := s.Hashes[0]
	if most.What == string(ShapeMissing) && len(s.Hashes) > 1 {
		most = s.Hashes[1]
	}
	has := fmt.Sprintf("%d hold ", most.Count)
	switch {
	case s.Documents == 1:
		has = "it holds "
	case most.Count == 1:
		has = "1 holds "
	}
	switch shape := Shape(most.What); shape {
	case ShapeBcrypt, ShapeArgon2, ShapeSalted, ShapePlain:
		return has + shape.Advice(s.schema.hashName())
	case ShapeOther, ShapeMissing:
		return "name the field of the hash with --map-hash, or store " + s.schema.aHash() + " there"
	}
	return has + "a hash in another encoding: set --map-hash-encoding=" + s.otherEncodings()
}

// otherEncodings returns the encodings that could read most hashes: more than
// one if no document shows whether it is base64 or base64url.
func (s *Survey) otherEncodings() string {
	var names []string
	order := s.encodingOrder()[1:]
	for _, e := range order {
		if s.Readable[e] == s.Readable[order[0]] {
			names = append(names, string(e))
		}
	}
	return strings.Join(names, " or ")
}

// Warnings returns sentences about what is unusual but does not prevent the
// start: documents that cannot be read, keys most of which are off, roles whose
// field is in no document, switches without a role, keys that are bound to no
// organisation although most are, and implausible dates. Nil: none.
func (s *Survey) Warnings() []string {
	var warnings []string
	for _, warning := range append([]string{s.warnBroken(), s.usableWarning(), s.missingFieldsWarning(), s.offFieldsWarning(), s.unboundWarning()}, s.dateWarnings()...) {
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings
}

func (s *Survey) warnBroken() string {
	if s.Broken() == 0 {
		return ""
	}
	what := "cannot be read as keys, so they are DISABLED"
	if s.Broken() == 1 {
		what = "cannot be read as a key, so it is DISABLED"
	}
	text := fmt.Sprintf("%s %s, or never found if the hash is the reason: %s", s.some(s.Broken()), what, s.reasons())
	if len(s.Hashes) > 1 {
		text += "; " + s.schema.Hash + " holds " + s.hashContents()
	}
	return text
}

// reasons returns the most frequent defects, with counts and ids.
func (s *Survey) reasons() string {
	var reasons []string
	for i, g := range s.Defects {
		if i == maxReasons {
			reasons = append(reasons, fmt.Sprintf("and %d more reasons", len(s.Defects)-i))
			break
		}
		reasons = append(reasons, fmt.Sprintf("%s (%s)", g.What, g.countAndIDs()))
	}
	return strings.Join(reasons, ", ")
}

// countAndIDs returns the count, and the ids of the first documents.
func (g SurveyGroup) countAndIDs() string {
	if len(g.IDs) == 0 {
		return fmt.Sprint(g.Count)
	}
	return fmt.Sprintf("%d: %s", g.Count, g.ids())
}

// ids returns the ids of the first documents.
func (g SurveyGroup) ids() string {
	n := min(len(g.IDs), maxIDs)
	text := strings.Join(g.IDs[:n], ", ")
	if g.Count > n {
		text += ", …"
	}
	return text
}

// hashContents describes what the hash field contains, with counts.
func (s *Survey) hashContents() string {
	var parts []string
	for _, g := range s.Hashes {
		parts = append(parts, fmt.Sprintf("%s in %d", g.What, g.Count))
	}
	return strings.Join(parts, ", ")
}

// missingFieldsWarning is for fields that would restrict a key if any document
// had them: with a wrong field name, keys would never expire, or never be off.
// An operator whose documents have no such field sets an empty name.
func (s *Survey) missingFieldsWarning() string {
	var names, flags []string
	for _, f := range s.Fields {
		if f.absence == widens && f.Present == 0 {
			names, flags = append(names, f.Field), append(flags, "--"+f.Flag)
		}
	}
	if s.Documents == 0 || names == nil {
		return ""
	}
	return fmt.Sprintf("%s field %s: if your field has another name, keytail ignores it until you set the name (%s); an empty name means that there is no such field",
		s.none("has a", "has no"), strings.Join(names, ", "), strings.Join(flags, ", "))
}

// offFieldsWarning is for a switch that the mapping does not use, because another
// field was taken or its name is mistyped.
func (s *Survey) offFieldsWarning() string {
	if len(s.OffFields) == 0 {
		return ""
	}
	field, them, it := "a field "+s.OffFields[0]+", whose name says", "it", "it"
	if len(s.OffFields) > 1 {
		field, them, it = "fields "+strings.Join(s.OffFields, ", ")+", whose names say", "them", "one of them"
	}
	return fmt.Sprintf("documents of %s have %s that a key is off, and the mapping does not use %s: a key that only %s switches off is VALID; keytail reads one switch (--map-active), so name the right one, or let your code write that one, too",
		s.Namespace, field, them, it)
}

// unboundWarning is for keys without an organisation among keys of which at least
// half have one: if their organisation is in another field, such as that of an
// older schema, they are valid for every organisation.
func (s *Survey) unboundWarning() string {
	if s.schema.OrgID == "" || s.Unbound == 0 || 2*s.Unbound > s.Keys {
		return ""
	}
	return fmt.Sprintf("%d of %d keys in the %s have no %s, so they are bound to no organisation and are valid for every one: if their organisation is in another field, copy it to %s",
		s.Unbound, s.Keys, s.sampleText(), s.schema.OrgID, s.schema.OrgID)
}
