package apikey

import "time"

// Code says which check decided. It is part of the wire contract.
type Code uint8

// The codes in the order in which they are decided: the first check that fails
// is the answer. The zero value is Unavailable, so that a verdict that nobody
// filled in is an outage and never a yes or a no.
const (
	// Unavailable: the truth cannot be known within max_stale.
	Unavailable Code = iota
	// Missing: no key was sent.
	Missing
	// Malformed: what was sent is not a key by its text, or was two keys.
	Malformed
	// NotFound: no document has the key's hash.
	NotFound
	// Disabled: not active, or the document cannot be read as a key.
	Disabled
	// Expired: expires_at is not in the future.
	Expired
	// Forbidden: the client's IP is not allowed, or the key is bound elsewhere.
	Forbidden
	// InsufficientPermissions: a required scope is missing.
	InsufficientPermissions
	// Valid: none of the above.
	Valid

	// CodeCount is the number of codes, for tables indexed by Code.
	CodeCount = int(Valid) + 1
)

// Source says where the truth of a verdict came from.
type Source uint8

const (
	// SourceNone: no truth was needed or none was to be had.
	SourceNone Source = iota
	// SourceCache: an entry that the change stream vouches for.
	SourceCache
	// SourceFill: a database read shared by the callers of one flight.
	SourceFill
	// SourceDirect: a database read that began after this caller arrived, and
	// was not stored.
	SourceDirect
	// SourceLinearizable: the same, and linearizable, since memory and what
	// could vouch for a read were too old.
	SourceLinearizable

	// SourceCount is the number of sources, for tables indexed by Source.
	SourceCount = int(SourceLinearizable) + 1
)

// Problem says that the request and not the truth is why there is no verdict.
type Problem uint8

const (
	// NoProblem: the code is all there is to say.
	NoProblem Problem = iota
	// RevisionAhead: the cluster has not been at the request's MinRevision yet,
	// so nobody can have been given it.
	RevisionAhead
)

// Verdict is the answer about one key for one request.
type Verdict struct {
	Code   Code
	Source Source
	// Problem, if there is one, is a mistake of the caller's. The code is
	// Unavailable then, so that who does not look here sees no yes and no no.
	Problem Problem
	// Record is the key's record from Disabled on, nil before. It is shared:
	// read only.
	Record *Record
	// AsOf is the time on this machine's clock at which the answer was the
	// truth, Staleness the time from there to the answer. Zero AsOf: there is
	// no truth behind the answer (Missing, Malformed, Unavailable).
	AsOf      time.Time
	Staleness time.Duration
	// Revision is the cluster time up to which the answer has seen all changes,
	// as an integer that package clustertime explains; it is not before the
	// request's MinRevision. Zero: not known.
	Revision uint64
}
