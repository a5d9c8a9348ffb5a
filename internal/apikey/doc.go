// Package apikey is keytail's domain, without I/O and without a clock: the text of a key, its
// hash, the record that the database has of it, and the decision whether a request may go ahead
// with it.
//
// It imports the standard library only. The text of a key is not kept after Parse: everything
// after it knows the key by its hash.
//
// To add a code for a refusal, add it to the constants in verdict.go, to the names in codes.go
// and, if Decide returns it, to decide.go. The HTTP status and the text are in package forwardauth
// (problem.go).
package apikey
