package keystore

import "github.com/keytail/keytail/internal/apikey"

// IDText is an _id as answers have it in key_id; false for one that no key can
// have: no document with it was ever VALID. (The canonical form has forgotten
// which of two equal values it was: 7.0 is shown as 7.)
func IDText(id apikey.DocID) (string, bool) {
	v, err := idValue(id)
	if err != nil {
		return "", false
	}
	text, problem := readID(v)
	return text, problem == ""
}
