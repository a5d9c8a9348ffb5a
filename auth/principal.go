package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/revocation"
)

// Principal is whom a request speaks for: its key, as it was when the request was
// let in. Authenticate and Middleware make it. Its slices are shared with other
// requests: only read them.
type Principal struct {
	// KeyID names the key. It is no secret.
	KeyID string
	// UserID is whom the key speaks for.
	UserID string
	// OrgID and ProjectID bind the key. Empty: it is valid for any.
	OrgID     string
	ProjectID string
	// Name is for people. May be empty.
	Name string
	// Scopes are held by the key; HasScope knows its wildcards.
	Scopes []string
	// Metadata is a JSON object. Empty: {}.
	Metadata json.RawMessage
	// ExpiresAt is the first instant at which the key is no longer valid. Zero:
	// never.
	ExpiresAt time.Time
	// AsOf is the time at which this was true. Revision is that up to which it has
	// seen all changes, zero if that is not known.
	AsOf     time.Time
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

// HasScope reports whether the key holds a scope, by itself or by "*" or
// "prefix:*".
func (p *Principal) HasScope(scope string) bool { return apikey.Holds(p.Scopes, scope) }

// Done is closed when the key stops being valid for this request: when it is
// revoked, deleted, expired, given to somebody else, or loses a scope that the
// request was let in by; with CancelOnOutage also when the truth is lost. It is not
// closed when a key is changed and stays valid.
//
// It is watched from the first call on until the handler returns, and costs nothing
// before; while it is, the key's text is kept in memory. With a Validator that tells
// of no changes it is closed by expiry alone.
func (p *Principal) Done() <-chan struct{} {
	if p.session == nil {
		return nil
	}
	return p.session.watched(nil).Done()
}

// Err is why Done is closed: a *RevokedError, or ErrStalenessExceeded. Nil before, and
// if nobody has called Done.
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

// String is for logs: ids, and nothing that is secret.
func (p *Principal) String() string { return fmt.Sprintf("key %s of user %s", p.KeyID, p.UserID) }

// GoString is String: %#v shows no more.
func (p *Principal) GoString() string { return p.String() }

// FromContext is the principal of a request's context, nil if nobody has
// authenticated, or if the request is a preflight that was allowed to pass.
func FromContext(ctx context.Context) *Principal {
	if s := sessionOf(ctx); s != nil && !s.preflight {
		return &s.principal
	}
	return nil
}

// PrincipalOf is the principal of a Gin request, nil as in FromContext.
func PrincipalOf(c *gin.Context) *Principal {
	if c.Request == nil {
		return nil
	}
	return FromContext(c.Request.Context())
}

// session is a request that was let in: its context, its principal, and what is
// needed to ask about its key again.
type session struct {
	context.Context
	principal Principal
	gate      *gate
	// text is the key. A function, since whatever prints a structure, by whatever verb,
	// stops there.
	text     func() string
	request  Request
	mark     uint64
	revision Revision
	// preflight: there is no principal.
	preflight bool

	mutex sync.Mutex
	// needs are what was required since; the first ones have their place here.
	needs []*requirement
	place [2]*requirement
	// watch is nil until somebody wants to know. released: the handler has returned.
	watch    *revocation.Watch
	released bool
}

// sessionKey is the key of a session in a context.
type sessionKey struct{}

// Value makes a session a context that knows itself.
func (s *session) Value(key any) any {
	if key == (sessionKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// String keeps the key out of what %v prints of a context.
func (s *session) String() string { return "keytail.auth session of " + s.principal.String() }

// GoString is String.
func (s *session) GoString() string { return s.String() }

func sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(sessionKey{}).(*session)
	return s
}

// attach is the request that the handler sees.
func (s *session) attach(r *http.Request) *http.Request {
	r = r.WithContext(s)
	if s.gate.hide {
		s.gate.conceal(r)
	}
	return r
}

// watched begins to watch, if nobody has before. onEnd may be nil.
func (s *session) watched(onEnd func(error)) *revocation.Watch {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.watch == nil {
		s.watch = s.gate.watches.Add(revocation.Entry{
			KeyID: s.principal.KeyID, Mark: s.mark, Revision: uint64(s.revision),
			Expires: s.principal.ExpiresAt, AtExpiry: errExpired, CancelOnOutage: s.gate.cutOnOutage,
			Recheck: s.recheck, OnEnd: onEnd,
		})
		if s.released {
			s.watch.Stop()
		}
	}
	return s.watch
}

// release ends the watch: the handler has returned.
func (s *session) release() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.released = true
	if s.watch != nil {
		s.watch.Stop()
	}
}

// recheck asks whether the request would be let in now, as revocation.Entry.Recheck.
func (s *session) recheck(ctx context.Context, revision uint64) (time.Time, error) {
	s.mutex.Lock()
	needs := s.needs
	s.mutex.Unlock()
	request := s.request
	request.MinRevision = Revision(revision)
	verdict, err := s.gate.validator.Validate(ctx, s.text(), request)
	if errors.Is(err, ErrRevisionAhead) {
		// It is of another history: of a database that was replaced since it was heard of.
		request.MinRevision = 0
		verdict, err = s.gate.validator.Validate(ctx, s.text(), request)
	}
	code := codeOf(&verdict, err)
	switch {
	case code == Unavailable:
		if err == nil {
			err = ErrUnavailable
		}
		return time.Time{}, unknown(err)
	case code != Valid:
		return time.Time{}, &RevokedError{code}
	case verdict.Key.KeyID != s.principal.KeyID || verdict.Key.UserID != s.principal.UserID:
		// The text belongs to another key, which nobody watches, or to another user.
		return time.Time{}, &RevokedError{NotFound}
	}
	for _, need := range needs {
		if !need.met(verdict.Key.Scopes) {
			return time.Time{}, &RevokedError{InsufficientPermissions}
		}
	}
	return verdict.Key.ExpiresAt, nil
}
