package managedkey

import (
	"fmt"

	"github.com/keytail/keytail/internal/apikey"
)

// Owner is a user, an organisation, or a user within an organisation. Empty fields
// are any: the zero Owner is everyone.
type Owner struct{ UserID, OrgID string }

// Owns reports whether a key belongs to this owner. A document without an owner, or
// with one that cannot be read, belongs to everyone only.
func (o Owner) Owns(key *apikey.Record) bool {
	return (o.UserID == "" || o.UserID == key.UserID) && (o.OrgID == "" || o.OrgID == key.OrgID)
}

// Owns reports whether a request may be about this key: it belongs to the owner to
// which the token is bound, and to the user that the request names.
func (c *Caller) Owns(key *apikey.Record) bool {
	return c.Bound.Owns(key) && Owner{UserID: c.Owner}.Owns(key)
}

// Select is whose keys a request selects that names the user Owner, or no user, and
// an organisation, or none: those within the owner to which the token is bound. The
// error is ErrNotPermitted if it is bound to another one.
func (c *Caller) Select(orgID string) (Owner, error) {
	user, err := narrow("user", c.Bound.UserID, c.Owner)
	if err != nil {
		return Owner{}, err
	}
	org, err := narrow("organisation", c.Bound.OrgID, orgID)
	return Owner{UserID: user, OrgID: org}, err
}

// Claim gives a new key the owner to which the token is bound. The error is
// ErrNotPermitted if the fields name another one.
func (c *Caller) Claim(f Fields) (Fields, error) {
	var err error
	if f.UserID, err = claim("user", c.Bound.UserID, f.UserID); err != nil {
		return Fields{}, err
	}
	f.OrgID, err = claim("organisation", c.Bound.OrgID, f.OrgID)
	return f, err
}

// claim leaves the field of a token that is not bound as it is.
func claim(what, bound string, named *string) (*string, error) {
	if bound == "" {
		return named, nil
	}
	asked := ""
	if named != nil {
		asked = *named
	}
	id, err := narrow(what, bound, asked)
	return &id, err
}

// narrow is the id that meets both conditions. Empty: any.
func narrow(what, bound, asked string) (string, error) {
	switch {
	case asked == "":
		return bound, nil
	case bound != "" && asked != bound:
		return "", fmt.Errorf("%w: it is bound to another %s than the request names", ErrNotPermitted, what)
	}
	return asked, nil
}
