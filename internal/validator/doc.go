// Package validator is the validation path: it parses and hashes the text of a
// key, looks the hash up in the cache, reads the database if the cache has no
// valid entry, and lets the record decide.
//
// It gives four verdicts itself (Missing, Malformed, Unavailable, NotFound);
// apikey.Decide gives the others. The text of a key is never stored, logged or
// counted.
//
// validator.go has the path; read.go, linearizable.go and group.go the reads on
// a cache miss; revision.go the min_revision of a request; refresh.go the reads
// after updates; breaker.go the circuit breaker; explain.go the verdicts that an
// operator asks for. DESIGN.md explains which read is made when, and why.
package validator
