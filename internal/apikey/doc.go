// Package apikey is the domain of keytail, without I/O and without time of its
// own: the text of a key, its hash, the record that a database keeps about it,
// and the decision whether a request may go ahead with it.
//
// It imports the standard library only. The text of a key never outlives
// Parse: everything after it knows the key by its SHA-256 hash.
package apikey
