// Package adminclient asks a running keytail: the admin API of its admin listener,
// and verify of its public one.
//
// A write is sent once. When its answer does not arrive, nobody here knows whether
// it took effect, and the error (UnknownError) says so: trying again is for people, who
// can look first. Reads are not repeated either; the one thing that goes on by
// itself is the stream of events.
//
// Errors are sentences that say what to do. Neither the token nor a key is in one.
package adminclient
