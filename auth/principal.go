package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
)

// Principal is the user, organisation and project that an accepted request speaks
// for: the fields of its key when it was validated. Authenticate and Middleware create
// it. Its slices are shared between requests: do not modify them.
type Principal struct {
	// KeyID identifies the key. It is not secret.
	KeyID string
	// UserID is the user that the key speaks for.
	UserID string
	// OrgID and ProjectID bind the key: the request is for them, also if it named none.
	// Empty: the key is valid for all.
	OrgID     string
	ProjectID string
	// Name is a label for people. It can be empty.
	Name string
	// Scopes are the permissions of the key; HasScope applies its wildcards.
	Scopes []string
	// Metadata is a JSON object. Empty: {}.
	Metadata json.RawMessage
	// ExpiresAt is the first instant at which the key is no longer valid. Zero: never.
	ExpiresAt time.Time
	// AsOf is the time of the data that the verdict is based on.
	AsOf time.Time
	// Revision is the revision of this data. Zero: unknown.
	Revision Revision

	session *session
}

func principalOf(v *Verdict, s *session) Principal {
	k := v.Key
	return Principal{
		KeyID: k.KeyID, UserID: k.UserID, OrgID: k.OrgID, ProjectID: k.ProjectID, Name: k.Name, Scopes: k.Scopes,
		Metadata: k.Metadata, ExpiresAt: k.ExpiresAt, AsOf: v.AsOf, Revision: v.Revision, session: s,
	}
}

// HasScope reports whether the key has a scope, literally or through "*" or
// "prefix:*".
func (p *Principal) HasScope(scope string) bool { return apikey.Holds(p.Scopes, scope) }

// Done returns a channel that is closed when the key is no longer valid for this
// request: it was revoked, deleted, given to another user or bound to another
// organisation or project, it has expired, or it lost a scope that the request
// requires. With CancelOnOutage an outage closes it, too.
// A change after which the key is still valid does not close it.
//
// The key is watched from the first call of Done until the handler returns, and its
// text stays in memory for this time. Without a call of Done there is no cost. With a
// Validator that is no RevocationWatcher only the expiry closes the channel.
func (p *Principal) Done() <-chan struct{} {
	if p.session == nil {
		return nil
	}
	return p.session.startWatch(nil).Done()
}

// Err returns why Done is closed: a *RevokedError, or ErrStalenessExceeded. It returns
// nil while Done is open, and if Done was never called.
func (p *Principal) Err() error {
	if p.session == nil {
		return nil
	}
	p.session.mutex.Lock()
	w := p.session.watch
	p.session.mutex.Unlock()
	if w == nil {
		return nil
	}
	return w.Err()
}

// String returns the ids, for logs. It contains no secrets.
func (p *Principal) String() string { return fmt.Sprintf("key %s of user %s", p.KeyID, p.UserID) }

// GoString is String, so that %#v prints nothing else.
func (p *Principal) GoString() string { return p.String() }

// FromContext returns the principal of a request's context. It is nil if the request
// did not pass Authenticate or Middleware, or passed as a preflight (AllowPreflight).
func FromContext(ctx context.Context) *Principal {
	if s := sessionOf(ctx); s != nil && !s.preflight {
		return &s.principal
	}
	return nil
}

// FromGin returns the principal of a Gin request, nil as FromContext.
func FromGin(c *gin.Context) *Principal {
	if c.Request == nil {
		return nil
	}
	return FromContext(c.Request.Context())
}
