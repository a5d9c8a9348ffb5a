package keypages

import (
	"time"

	"github.com/keytail/keytail/api"
)

// May is which actions a page offers. The server checks each one again.
type May struct {
	Create, Rotate, Revoke bool
	// SignIn is the address of the form to sign in, for a caller that could do more then:
	// a password that the browser sends by itself must not be enough to change anything.
	// Empty: it would not help.
	SignIn string
}

// Key is a key as the pages show it.
type Key struct {
	api.Key
	// State is active, revoked, expired or defective.
	State string
}

// The states of a key.
const (
	Active    = "active"
	Revoked   = "revoked"
	Expired   = "expired"
	Defective = "defective"
)

// KeyOf is a key with its state at a time.
func KeyOf(key api.Key, now time.Time) Key { //nolint:gocritic // hugeParam: it is copied anyway
	state := Active
	switch {
	case key.Defect != nil:
		state = Defective
	case !key.IsActive:
		state = Revoked
	case key.ExpiresAt != nil && !key.ExpiresAt.After(now):
		state = Expired
	}
	return Key{key, state}
}

// Class is the style of the state.
func (k *Key) Class() string {
	switch k.State {
	case Active:
		return "good"
	case Defective:
		return "warn"
	}
	return "bad"
}

// Label names the key for people: its name, or else its id.
func (k *Key) Label() string {
	if k.Name != "" {
		return k.Name
	}
	return k.ID
}

// MetadataText is the metadata as JSON. Empty: there is none.
func (k *Key) MetadataText() string {
	if text := string(k.Metadata); text != "{}" {
		return text
	}
	return ""
}

// Owner is to whom the caller is bound. Empty: to nobody.
type Owner struct{ UserID, OrgID string }

// Filter has the fields of the search as the caller has written them.
type Filter struct {
	UserID, OrgID, ProjectID, UnusedFor, ExpiresWithin string
	IncludeInactive                                    bool
}

// ListData is the search and its result.
type ListData struct {
	May
	Bound  Owner
	Filter Filter
	Keys   []Key
	// Next is the address of the next page. Empty: this is the last one.
	Next string
	// Problem is why there is no result. Empty: there is one.
	Problem string
}

// ShowData is one key.
type ShowData struct {
	May
	Key Key
	// Secret is the text of a new key, which is shown only once. Empty: it is not new.
	Secret string
	// Written says what has been done. Empty: the caller only looks.
	Written string
	// Applied is which instances have applied it. Nil: nothing was written.
	Applied *Applied
	// Request is what Explanation is about.
	Request     Request
	Explanation *api.Explanation
	// ExplainProblem is why there is no Explanation, AuditProblem why there is no Audit.
	ExplainProblem, AuditProblem string
	Audit                        []api.AuditEntry
}

// Applied is which instances have applied a write.
type Applied struct {
	api.SyncResult
	// Problem is why that is not known. Empty: it is.
	Problem string
	// Again is the address that asks again.
	Again string
}

// Request has the fields of an explained request as the caller has written them.
type Request struct{ Scope, OrgID, ProjectID, IP string }

// NewData is the form for a new key.
type NewData struct {
	Bound Owner
	// The fields as the caller has written them.
	UserID, OrgID, ProjectID, Name, Scopes, AllowedIPs, ExpiresAt, Metadata string
	// Problem is why no key was made, and KeyID the key to look at if that is not
	// certain. Empty: the form is new.
	Problem, KeyID string
}

// ConfirmData is a key that is about to be revoked or rotated.
type ConfirmData struct {
	Key Key
	// Digest is of the key as it is shown: what has changed since is not rotated.
	Digest string
	// Problem is why nothing was written. Empty: nothing was tried.
	Problem string
}

// FindData is the form that finds a key by its text.
type FindData struct {
	// Keys are those that have the text. Found: it was searched for.
	Keys    []Key
	Found   bool
	Problem string
}

// SignInData is the form to sign in.
type SignInData struct {
	// Next is the page to go to. Empty: the first one.
	Next string
	// Problem is why nobody is signed in. Empty: nothing was tried.
	Problem string
}

// ProblemData is a refusal.
type ProblemData struct {
	Title, Detail string
	// SignIn is the address of the form to sign in. Empty: it would not help.
	SignIn string
}
