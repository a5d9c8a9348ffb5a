package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/revocation"
)

// Validator judges API keys. It is safe for concurrent use.
type Validator interface {
	// Validate judges the key with this text for this request; an empty text is
	// Missing. The error is not nil exactly when there is no verdict: it is
	// ErrUnavailable when the truth cannot be known now, ErrRevisionAhead for a
	// MinRevision that nobody can have been given, and the verdict's code is
	// Unavailable then. A refusal is no error.
	Validate(ctx context.Context, key string, request Request) (Verdict, error)
}

// Watches are those who want to know when a key stops being valid. A Validator that
// hears of changes has a method that returns its own:
//
//	Watches() *auth.Watches
//
// One that wraps another hands that one's through, or Principal.Done is closed by
// expiry alone, and WithRevocationCancel and CancelOnOutage cannot be.
type Watches = revocation.Watches

var (
	// ErrUnavailable says that the truth about a key cannot be known at the moment:
	// refuse the request with 503, and let the client ask again.
	ErrUnavailable = errors.New("whether this API key is valid cannot be known at the moment")
	// ErrRevisionAhead says that a MinRevision lies ahead of the whole cluster, so
	// that no answer can have given it: a mistake of the caller's.
	ErrRevisionAhead = clustertime.ErrRevisionAhead
)

// Code says which check decided. Codes may be added: one that is not known is not
// Valid. The zero value is no code, and not valid either.
type Code string

// The codes, in the order in which they are decided: the first check that fails is
// the answer.
const (
	// Missing: no key was sent.
	Missing Code = "MISSING"
	// Malformed: what was sent is not a key by its text, or was two keys.
	Malformed Code = "MALFORMED"
	// Unavailable: the truth cannot be known within the stated bound.
	Unavailable Code = "UNAVAILABLE"
	// NotFound: nobody has this key.
	NotFound Code = "NOT_FOUND"
	// Disabled: switched off, or its document cannot be read as a key.
	Disabled Code = "DISABLED"
	// Expired: its end has come.
	Expired Code = "EXPIRED"
	// Forbidden: the client's address is not in the key's allow-list, or the key is
	// bound to another org or project.
	Forbidden Code = "FORBIDDEN"
	// InsufficientPermissions: a required scope is missing.
	InsufficientPermissions Code = "INSUFFICIENT_PERMISSIONS"
	// Valid: none of the above.
	Valid Code = "VALID"
)

// Request is what is to be done with a key. The zero value wants a valid key and
// no more.
type Request struct {
	// Scopes must all be held. Empty: none is needed.
	Scopes []string
	// OrgID and ProjectID are what the request is for: a key that is bound to one is
	// valid only when the request names the same. Empty: none is named.
	OrgID, ProjectID string
	// IP is the client's address, for keys with an allow-list. Zero: not known, and
	// such keys are refused.
	IP netip.Addr
	// MinRevision is the revision that the answer must contain, as an earlier answer
	// or a write's receipt gave it. Zero: none is asked for.
	MinRevision Revision
}

// Revision is how much of what was written an answer has seen. Revisions order as
// integers, and as text. Zero: not known.
type Revision uint64

// String is the wire form: 16 hex digits.
func (r Revision) String() string { return clustertime.Time(r).String() }

// ParseRevision reads what String wrote.
func ParseRevision(text string) (Revision, error) {
	t, err := clustertime.Parse(text)
	return Revision(t), err
}

// Key is what the database says about a key. It is shared with other requests:
// only read it.
type Key struct {
	// KeyID names the key in logs and in the admin API. It is no secret.
	KeyID string
	// UserID is whom the key speaks for.
	UserID string
	// OrgID and ProjectID bind the key. Empty: it is valid for any.
	OrgID     string
	ProjectID string
	// Name is for people. May be empty.
	Name string
	// Scopes are held by the key; "*" and "prefix:*" are wildcards, which HasScope
	// knows. Empty: none.
	Scopes []string
	// AllowedIPs restricts the client's address. Empty: any.
	AllowedIPs []netip.Prefix
	// ExpiresAt is the first instant at which the key is no longer valid. Zero:
	// never.
	ExpiresAt time.Time
	// Metadata is a JSON object that keytail passes on unread. Empty: {}.
	Metadata json.RawMessage
	// Active is the document's own switch.
	Active bool
	// Defect says why the document cannot be read as a key. Empty: it can. It is
	// known to a Service alone.
	Defect string
}

// Source says where the truth of a verdict came from.
type Source string

// The sources.
const (
	// SourceNone: no truth was needed, or none was to be had.
	SourceNone Source = ""
	// SourceCache: memory that follows the database.
	SourceCache Source = "cache"
	// SourceFill, SourceDirect and SourceLinearizable: a read of the database; shared
	// by callers, by this caller alone, or linearizable because memory was too old.
	SourceFill         Source = "fill"
	SourceDirect       Source = "direct"
	SourceLinearizable Source = "linearizable"
)

// Verdict is the answer about one key for one request. The zero value is no yes.
type Verdict struct {
	// Code is why.
	Code Code
	// Key is set from Disabled on, and nil before. For Forbidden a daemon tells no
	// more than its KeyID.
	Key *Key
	// Source, AsOf and Staleness say how the truth came here and how old it is: AsOf
	// is the time, on the clock of the machine that judged, at which the answer was
	// true, and Staleness the time from there to the answer. Zero AsOf: no truth was
	// needed.
	Source    Source
	AsOf      time.Time
	Staleness time.Duration
	// Revision is that up to which the answer has seen all changes. Zero: not known.
	Revision Revision
}

// Valid reports whether the request may go ahead.
func (v *Verdict) Valid() bool { return v.Code == Valid && v.Key != nil }
