package apikey

import "time"

// Code is the check that decided. It is part of the wire contract.
type Code uint8

// The codes in the order of the checks: the first check that fails decides. The zero value is
// Unavailable, so a verdict that was never filled in is an outage, never a yes or a no.
const (
	// Unavailable: there are no data that are fresh enough for max_stale.
	Unavailable Code = iota
	// Missing: no key was sent.
	Missing
	// Malformed: the text is not a key, or two keys were sent.
	Malformed
	// NotFound: no document has the key's hash.
	NotFound
	// Disabled: not active, or the document cannot be read as a key.
	Disabled
	// Expired: expires_at is not in the future.
	Expired
	// Forbidden: the client's IP is not allowed, or the key is bound to another organisation or
	// project.
	Forbidden
	// InsufficientPermissions: a required scope is missing.
	InsufficientPermissions
	// Valid: all checks passed.
	Valid

	// CodeCount is the number of codes, for tables indexed by Code.
	CodeCount = int(Valid) + 1
)

// Source is where the data of a verdict came from.
type Source uint8

const (
	// SourceNone: no data were needed, or none could be had.
	SourceNone Source = iota
	// SourceCache: a valid entry of the cache.
	SourceCache
	// SourceFill: a database read that several callers shared.
	SourceFill
	// SourceDirect: a database read that began after this caller arrived, and was not stored.
	SourceDirect
	// SourceLinearizable: the same with a linearizable read, because the cache's freshness was too
	// old.
	SourceLinearizable

	// SourceCount is the number of sources, for tables indexed by Source.
	SourceCount = int(SourceLinearizable) + 1
)

// Problem is a mistake in the request because of which there is no verdict.
type Problem uint8

const (
	// NoProblem: the request is in order.
	NoProblem Problem = iota
	// RevisionAhead: the cluster has not yet reached the request's MinRevision, so keytail cannot
	// have given it to anyone.
	RevisionAhead
)

// Verdict is the answer about one key for one request.
type Verdict struct {
	Code   Code
	Source Source
	// Reason is for callers that keytail trusts.
	Reason Reason
	// Problem, if there is one, is a mistake of the caller. The code is Unavailable then, so code
	// that ignores Problem sees neither a yes nor a no.
	Problem Problem
	// Record is the key's record from Disabled on, nil before. It is shared: do not modify it.
	Record *Record
	// AsOf: every change acknowledged before this time of this machine's clock is in the answer.
	// Staleness is the time from AsOf to the answer. Zero AsOf: the answer rests on no data
	// (Missing, Malformed, Unavailable).
	AsOf      time.Time
	Staleness time.Duration
	// Revision is the cluster time up to which all changes are in the answer, as an integer that
	// package clustertime explains. It is not before the request's MinRevision. Zero: unknown.
	Revision uint64
}

// StalenessMS is a staleness in whole milliseconds, rounded up: nothing may claim to be fresher
// than it is.
func StalenessMS(staleness time.Duration) int64 {
	return int64((max(staleness, 0) + time.Millisecond - 1) / time.Millisecond)
}
