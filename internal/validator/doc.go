// Package validator is the way of a key through keytail: its text is parsed and
// hashed, the cache is asked, the database is read when the cache has no
// answer, and the record decides.
//
// It gives the first four verdicts itself (Missing, Malformed, Unavailable,
// NotFound); apikey.Decide gives the rest. The text of a key is not kept, logged
// or counted.
package validator
