package keystore

import "fmt"

// checkActiveName refuses a switch whose name says "off" in the default form, in
// which true is on: each key that is revoked would be valid, and each other one
// DISABLED. An operator whose field means the opposite of its name gives the
// form explicitly.
func (s Schema) checkActiveName() error {
	if s.ActiveForm != "" || !NameMeansOff(s.Active) {
		return nil
	}
	return fmt.Errorf("the field for the active switch is called %q, which says that true switches a key off, but in the default form true switches it on: set --map-active-form=%s, or %s if it holds the time of revocation (or %s, if true really means that the key may be used)",
		s.Active, ActiveNegated, ActiveNoDate, ActiveBoolean)
}

// Warnings returns a sentence if the name of the switch says the opposite of the
// form that was given for it, or nil. It needs no documents.
func (s Schema) Warnings() []string {
	const opposite = "the field for the active switch is called %q, and --map-active-form=%s was given, so a key is %s: the name says the opposite; if the form is wrong, revoked keys are valid"
	switch {
	case s.ActiveForm == ActiveBoolean && NameMeansOff(s.Active):
		return []string{fmt.Sprintf(opposite, s.Active, s.ActiveForm, "on while the field is true")}
	case s.ActiveForm == ActiveNegated && NameMeansOn(s.Active):
		return []string{fmt.Sprintf(opposite, s.Active, s.ActiveForm, "off while the field is true")}
	case s.ActiveForm == ActiveNoDate && NameMeansOn(s.Active):
		return []string{fmt.Sprintf(opposite, s.Active, s.ActiveForm, "off as soon as the field holds a date")}
	}
	return nil
}
