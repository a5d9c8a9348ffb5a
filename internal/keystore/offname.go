package keystore

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The words of a field's name that say what its value true means. Only English
// words are known; a name without any of them says nothing.
var (
	offWords = words(`archived banned barred blacklisted block blocked blocklisted cancelled canceled closed compromised
		deactivated decommissioned deleted denied denylisted disable disabled ended expired forbidden frozen inactive
		invalid invalidated leaked locked obsolete off paused prohibited quarantined rejected removed rescinded retired
		revocation revoke revoked stopped suspend suspended suspension terminated trashed unusable void voided withdrawn`)
	onWords = words(`activated active allowed approved enable enabled granted live permitted usable valid`)
	// negations turn a name around: not_revoked, unblocked.
	negations = words(`isnt never no non not un wasnt without`)
	// possible words make a name say what could happen, or what another program
	// does, rather than what is: can_be_revoked, include_deleted.
	possible = words(`allow can could from if include includes may might protected protection revocable show since to until when`)
	// fillers occur together with the words above in a name that is written in
	// one case and without separators: isrevoked, revokedat.
	fillers = words(`account api apikey are at been by date flag from has hard is key longer on since soft state status
		time to token user was`)
)

func words(list string) []string { return strings.Fields(list) }

// NameMeansOff reports whether the name of a field says that its value true, or
// a date in it, switches a key off: revoked, isDisabled, WAS_BANNED, deleted-at,
// not_active. The case and the way in which words are joined do not matter.
func NameMeansOff(field string) bool {
	off, on := nameMeaning(field)
	return off && !on
}

// NameMeansOn reports whether the name of a field says that its value true
// switches a key on: active, is_enabled, notRevoked.
func NameMeansOn(field string) bool {
	off, on := nameMeaning(field)
	return on && !off
}

// nameMeaning reports which kinds of words the name has, after its negations.
// Neither: the name says nothing.
func nameMeaning(field string) (off, on bool) {
	negated := false
	for _, word := range nameWords(field) {
		switch {
		case slices.Contains(possible, word):
			return false, false
		case slices.Contains(negations, word):
			negated = !negated
		case slices.Contains(offWords, word):
			off = true
		case slices.Contains(onWords, word):
			on = true
		}
	}
	if negated {
		return on, off
	}
	return off, on
}

// nameWords splits a name into its words, in lower case: at everything that is
// not a letter, where the case changes, and where a word consists of known ones.
func nameWords(field string) []string {
	var list []string
	for _, run := range strings.FieldsFunc(field, func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' }) {
		for _, word := range splitCamel(strings.ReplaceAll(run, "'", "")) {
			list = append(list, splitKnown(strings.ToLower(word))...)
		}
	}
	return list
}

// splitCamel splits before a capital letter that follows a small one or precedes
// one: isRevoked, APIKeyRevoked.
func splitCamel(run string) []string {
	var list []string
	begin := 0
	for i, r := range run {
		if i == begin || !unicode.IsUpper(r) {
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(run[:i])
		after, _ := utf8.DecodeRuneInString(run[i+utf8.RuneLen(r):])
		if unicode.IsLower(before) || unicode.IsLower(after) {
			list = append(list, run[begin:i])
			begin = i
		}
	}
	return append(list, run[begin:])
}

// splitKnown splits a word that consists of known words entirely. Every other
// word stays whole: interactive is not active.
func splitKnown(word string) []string {
	if parts := knownParts(word); parts != nil {
		return parts
	}
	return []string{word}
}

// knownParts returns nil if the word does not consist of known words. It tries
// the longest first part first: inactive is one word. A name has at most some
// dozens of letters, and a position where no known word begins ends the search.
func knownParts(word string) []string {
	const longest = len("decommissioned")
	if len(word) > maxJoinedName {
		return nil
	}
	for end := min(len(word), longest); end > 0; end-- {
		if !known(word[:end]) {
			continue
		}
		if end == len(word) {
			return []string{word}
		}
		if rest := knownParts(word[end:]); rest != nil {
			return append([]string{word[:end]}, rest...)
		}
	}
	return nil
}

// maxJoinedName limits the search for known words in one word, in bytes.
const maxJoinedName = 64

func known(word string) bool {
	for _, list := range [][]string{offWords, onWords, negations, possible, fillers} {
		if slices.Contains(list, word) {
			return true
		}
	}
	return false
}
