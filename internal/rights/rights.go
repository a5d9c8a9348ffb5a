// Package rights says what a caller of the admin listener may do: its role, and
// whose keys it may see and change. It depends on the standard library and on
// package managedkey only.
package rights

import (
	"errors"

	"github.com/keytail/keytail/internal/managedkey"
)

// Role is which operations a caller may use. Each role includes the one before it.
type Role int

// The roles.
const (
	// None may do nothing: a role that was forgotten grants nothing.
	None Role = iota
	// Viewer reads: the methods GET and HEAD.
	Viewer
	// Operator also revokes keys, which needs to be possible at any hour. It can
	// neither make a key nor see the text of one.
	Operator
	// Admin also creates, changes, rotates and deletes keys.
	Admin
)

// names are the roles as token files have them.
var names = map[Role]string{Viewer: "viewer", Operator: "operator", Admin: "admin"}

// String is the role as token files have it, or "none".
func (r Role) String() string {
	if name, found := names[r]; found {
		return name
	}
	return "none"
}

// errRole does not quote the text, which may be a token in the wrong place.
var errRole = errors.New("role must be viewer, operator or admin")

// ParseRole is the inverse of String. "none" is an error.
func ParseRole(text string) (Role, error) {
	for role, name := range names {
		if text == name {
			return role, nil
		}
	}
	return None, errRole
}

// Includes reports whether the role may do what needs another one. What needs None
// is not for anyone: a right that was forgotten is not granted.
func (r Role) Includes(needed Role) bool { return needed != None && r >= needed }

// Identity is whom a token or a client certificate stands for.
type Identity struct {
	// Name is the actor of the audit.
	Name string
	Role Role
	// Owner is whose keys the caller may see and change. Zero: everyone's.
	Owner managedkey.Owner
}

// Why a caller has no Identity.
var (
	// ErrAbsent: it has sent neither a token nor a certificate of a caller.
	ErrAbsent = errors.New("no token was sent")
	// ErrUnknown: nobody has this token.
	ErrUnknown = errors.New("the token is not known")
	// ErrExpired: the token, or the certificate, has expired.
	ErrExpired = errors.New("the token has expired")
	// ErrAmbiguous: the certificate is that of two callers.
	ErrAmbiguous = errors.New("the certificate has the names of two callers")
)
