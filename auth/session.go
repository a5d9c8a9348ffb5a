package auth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// session is an accepted request: its context, its principal, and what is needed to
// validate its key again.
type session struct {
	context.Context
	principal Principal
	gate      *gate
	// key returns the key's text. It is a function because no format verb prints what a
	// function returns.
	key      func() string
	request  Request
	mark     uint64
	revision Revision
	// preflight: there is no principal.
	preflight bool

	mutex sync.Mutex
	// requirements are those of RequireScope and the like so far; inline has space for
	// the first ones.
	requirements []*requirement
	inline       [2]*requirement
	// watch is nil until the first startWatch. released: the handler has returned.
	watch    Watch
	released bool
}

// sessionKey is the key of a session in a context.
type sessionKey struct{}

// Value returns the session itself for sessionKey.
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

// attach returns the request that the handler gets.
func (s *session) attach(r *http.Request) *http.Request {
	r = r.WithContext(s)
	if s.gate.hideKey {
		s.gate.removeKey(r)
	}
	return r
}

// require adds a requirement to those that rechecks apply.
func (s *session) require(q *requirement) {
	s.mutex.Lock()
	if s.requirements == nil {
		s.requirements = s.inline[:0]
	}
	s.requirements = append(s.requirements, q)
	w := s.watch
	s.mutex.Unlock()
	if w != nil {
		// Rechecks so far did not include it.
		w.Again()
	}
}

// startWatch returns the session's watch, and creates it on the first call. onEnd may
// be nil.
func (s *session) startWatch(onEnd func(error)) Watch {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.watch == nil {
		request := WatchRequest{
			KeyID: s.principal.KeyID, Mark: s.mark, Revision: uint64(s.revision),
			ExpiresAt: s.principal.ExpiresAt, ExpiredError: errExpired,
			Recheck: s.recheck, OnEnd: onEnd,
		}
		if s.gate.cancelOnOutage {
			request.OutageError = ErrStalenessExceeded
		}
		s.watch = s.gate.watcher.Watch(request)
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

// recheck is the WatchRequest.Recheck of a session: would the request be accepted
// now?
func (s *session) recheck(ctx context.Context, minRevision uint64) (expiresAt time.Time, revoked, err error) {
	s.mutex.Lock()
	requirements := s.requirements
	s.mutex.Unlock()
	request := s.request
	request.MinRevision = Revision(minRevision)
	verdict, err := s.gate.validator.Validate(ctx, s.key(), request)
	if errors.Is(err, ErrRevisionAhead) {
		// The revision is of a database that was replaced meanwhile.
		request.MinRevision = 0
		verdict, err = s.gate.validator.Validate(ctx, s.key(), request)
	}
	switch code := codeOf(&verdict, err); {
	case code == Unavailable:
		return time.Time{}, nil, errors.Join(ErrUnavailable, err)
	case code != Valid:
		return time.Time{}, &RevokedError{code}, nil
	case verdict.Key.KeyID != s.principal.KeyID || verdict.Key.UserID != s.principal.UserID:
		// The text belongs to another user now, or to another key, whose changes this
		// watch would not see.
		return time.Time{}, &RevokedError{NotFound}, nil
	case s.isMoved(verdict.Key):
		return time.Time{}, &RevokedError{Forbidden}, nil
	}
	for _, q := range requirements {
		if !q.met(verdict.Key.Scopes) {
			return time.Time{}, &RevokedError{InsufficientPermissions}, nil
		}
	}
	return verdict.Key.ExpiresAt, nil, nil
}

// isMoved reports whether a key that is valid has become bound to another organisation
// or project than the one that the request is for: the one that it named, or that the
// principal has. A request that named none would be valid again, for the new one.
func (s *session) isMoved(now *Key) bool {
	moved := func(now, named, before string) bool { return now != "" && now != named && now != before }
	return moved(now.OrgID, s.request.OrgID, s.principal.OrgID) || moved(now.ProjectID, s.request.ProjectID, s.principal.ProjectID)
}
