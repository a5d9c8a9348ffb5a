package auth

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
)

// Code is the check that decided. New versions can add codes: treat a code that you do not know as
// a refusal. The zero value is not a code, and not Valid.
type Code string

// The codes of verdicts, in the order of the checks: the first check that fails
// decides.
const (
	// Missing: the request has no key.
	Missing Code = "MISSING"
	// Malformed: the text cannot be a key, or the request has two different keys.
	Malformed Code = "MALFORMED"
	// Unavailable: the key cannot be validated within the maximum staleness.
	Unavailable Code = "UNAVAILABLE"
	// NotFound: there is no such key.
	NotFound Code = "NOT_FOUND"
	// Disabled: the key is switched off, or its document cannot be decoded.
	Disabled Code = "DISABLED"
	// Expired: the key has expired.
	Expired Code = "EXPIRED"
	// Forbidden: the client's address is not in the key's allow-list, or the key is
	// bound to another organisation or project.
	Forbidden Code = "FORBIDDEN"
	// InsufficientPermissions: the key lacks a required scope.
	InsufficientPermissions Code = "INSUFFICIENT_PERMISSIONS"
	// Valid: all checks passed.
	Valid Code = "VALID"
)

// Request is what a key is needed for. The zero value requires a valid key and
// nothing else.
type Request struct {
	// Scopes are required, all of them. Empty: no scope is required.
	Scopes []string
	// OrgID and ProjectID are the organisation and the project that the request is
	// for. A key that is bound to others is Forbidden. Empty: the request names none,
	// and is for what the key is bound to, which Verdict.Key has.
	OrgID, ProjectID string
	// RequireOrg and RequireProject make a key that is bound to an organisation
	// (project) Forbidden if the request names none. They do not concern keys that are
	// not bound.
	RequireOrg, RequireProject bool
	// IP is the client's address, for keys with an allow-list. Zero: unknown, and such
	// keys are refused.
	IP netip.Addr
	// MinRevision is a revision that an earlier answer or a write acknowledgement
	// returned: the answer takes all changes up to it into account. Zero: no such
	// condition.
	MinRevision Revision
}

// Revision is a position in the history of the database. An answer with a revision
// takes all changes up to it into account. Revisions order as integers and, in their
// text form, as strings. Zero: unknown.
type Revision uint64

// String returns the form in HTTP: 16 hexadecimal digits.
func (r Revision) String() string { return clustertime.Time(r).String() }

// ParseRevision parses what String returns.
func ParseRevision(text string) (Revision, error) {
	t, err := clustertime.Parse(text)
	return Revision(t), err
}

// Key has the fields of a key document. It is shared between requests: do not modify
// it.
type Key struct {
	// KeyID identifies the key in logs and in the admin API. It is not secret.
	KeyID string
	// UserID is the user that the key speaks for.
	UserID string
	// OrgID and ProjectID bind the key: it is valid for no other. Empty: the key is
	// valid for all.
	OrgID     string
	ProjectID string
	// Name is a label for people. It can be empty.
	Name string
	// Scopes are the permissions of the key. "*" and "prefix:*" are wildcards; see
	// Principal.HasScope. Empty: no permissions.
	Scopes []string
	// AllowedIPs restricts the client's address. Empty: all addresses.
	AllowedIPs []netip.Prefix
	// ExpiresAt is the first instant at which the key is no longer valid. Zero: never.
	ExpiresAt time.Time
	// Metadata is a JSON object that keytail passes on without reading it. Empty: {}.
	Metadata json.RawMessage
	// Active is the switch in the key document.
	Active bool
	// Defect is the reason why the document cannot be decoded as a key. Empty: it can. Only a
	// keytail.Service sets it.
	Defect string
	// DefectReason is the first defect in the form of Verdict.Reason. Empty without a Defect.
	DefectReason string
}

// Source is where the data of a verdict came from.
type Source string

// The sources of verdicts.
const (
	// SourceNone: no data was needed, or none was available.
	SourceNone Source = ""
	// SourceCache: the cache.
	SourceCache Source = "cache"
	// SourceFill: a database read on a cache miss, possibly shared with other requests.
	SourceFill Source = "fill"
	// SourceDirect: a database read for this request alone.
	SourceDirect Source = "direct"
	// SourceLinearizable: a linearizable read, because the cache was stale.
	SourceLinearizable Source = "linearizable"
)

// Verdict is the answer to one request. The zero value is not valid.
type Verdict struct {
	// Code is the check that decided.
	Code Code
	// Reason is which part of that check failed, from Disabled on: inactive, shared_hash,
	// missing:FIELD, type:FIELD, duplicate:FIELD, unreadable, expired, org, project, ip or
	// scope:SCOPE. More can be added. It is for the service's own log, and not for end users.
	// Empty: the key is valid, the code says everything, or a daemon answered without a
	// caller token.
	Reason string
	// Key is set for Disabled and all later codes, and nil for earlier ones. For
	// Forbidden, a daemon returns only its KeyID.
	Key *Key
	// Source is where the data came from.
	Source Source
	// AsOf is the time of the data, on the clock of the machine that decided. Zero: no
	// data was needed.
	AsOf time.Time
	// Staleness is the age of the data: the time from AsOf to the answer.
	Staleness time.Duration
	// Revision is the revision of the data. Zero: unknown.
	Revision Revision
}

// Valid reports whether the request may go ahead.
func (v *Verdict) Valid() bool { return v.Code == Valid && v.Key != nil }
