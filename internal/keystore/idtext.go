package keystore

import "github.com/keytail/keytail/internal/apikey"

// IDText returns an _id in the form of key_id in responses. False: a key cannot
// have this _id, so no document with it was ever VALID. (The canonical form
// does not keep which of two equal values it was: 7.0 becomes 7.)
func IDText(id apikey.DocID) (string, bool) {
	v, err := idValue(id)
	if err != nil {
		return "", false
	}
	text, problem := readID(v)
	return text, problem == ""
}
