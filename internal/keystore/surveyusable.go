package keystore

import (
	"fmt"
	"strings"
)

// Usable returns how many of the documents are keys that can be used now.
func (s *Survey) Usable() int { return s.Keys - s.Inactive - s.Expired }

// unreadableError is for a sample in which no document can be read as a key.
func (s *Survey) unreadableError() error {
	if s.Keys > 0 {
		return nil
	}
	return explained(ErrNoKeys, "%s be read as a key: %s: correct the mapping or the documents %s", s.none("can", "cannot"), s.reasons(), seeAdopt)
}

// unusableError is for a sample in which no key can be used now, unless the
// operator gave the forms that decide so. With a wrong form, the keys that are
// revoked would be the valid ones.
func (s *Survey) unusableError() error {
	if s.Usable() > 0 {
		return nil
	}
	var try, confirm []string
	if s.Inactive > 0 && s.schema.ActiveForm == "" {
		try = append(try, fmt.Sprintf("--map-active-form=%s if true means off in %s, or another field with --map-active", ActiveNegated, s.schema.Active))
		confirm = append(confirm, fmt.Sprintf("--map-active-form=%s", ActiveBoolean))
	}
	if s.Expired > 0 && s.schema.ExpiresForm == "" {
		try = append(try, fmt.Sprintf("another field than %s with --map-expires-at", s.schema.ExpiresAt))
		confirm = append(confirm, fmt.Sprintf("--map-expires-form=%s", ExpiresDate))
	}
	if confirm == nil {
		return nil
	}
	return explained(ErrUnusable, "%s be used now: %s. If that is wrong, set %s; if it is right, start with %s %s",
		s.none("can", "cannot"), s.unusableCounts(), strings.Join(try, ", or "), strings.Join(confirm, " and "), seeAdopt)
}

// unusableCounts says why keys cannot be used, and which setting decides that.
func (s *Survey) unusableCounts() string {
	var parts []string
	if s.Inactive > 0 {
		parts = append(parts, fmt.Sprintf("%d disabled (%s, --map-active-form=%s)", s.Inactive, s.schema.Active, s.schema.ActiveForm.orDefault()))
	}
	if s.Expired > 0 {
		parts = append(parts, fmt.Sprintf("%d expired (%s, --map-expires-form=%s)", s.Expired, s.schema.ExpiresAt, s.schema.ExpiresForm.orDefault()))
	}
	if s.Broken() > 0 {
		parts = append(parts, fmt.Sprintf("%d unreadable: %s", s.Broken(), s.reasons()))
	}
	return strings.Join(parts, ", ")
}

// usableWarning is for keys of which none can be used, although the forms were
// given, and for keys of which more than half are off.
func (s *Survey) usableWarning() string {
	switch {
	case s.Keys == 0:
		return ""
	case s.Usable() == 0:
		return fmt.Sprintf("%s be used now: %s", s.none("can", "cannot"), s.unusableCounts())
	case 2*s.Inactive > s.Keys:
		return fmt.Sprintf("most keys are off: %d of %d in the %s (%s, --map-active-form=%s); if that is wrong, revoked keys are valid: set another form",
			s.Inactive, s.Keys, s.sampleText(), s.schema.Active, s.schema.ActiveForm.orDefault())
	}
	return ""
}
