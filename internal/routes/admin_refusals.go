package routes

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/rights"
)

// Refusals keeps requests that the admin listener has refused because of their caller.
type Refusals interface {
	// Note is called by many goroutines at once, and never waits.
	Note(refusal managedkey.Refusal)
}

// noteLogin notes a login that failed. A request without a token is none: every browser
// begins with one.
func (a *admin) noteLogin(r *http.Request, who rights.Identity, err error) {
	refusal := managedkey.Refusal{Action: managedkey.RefusedLogin, Actor: who.Name}
	switch {
	case errors.Is(err, rights.ErrAbsent):
		return
	case errors.Is(err, errCrossOrigin):
		refusal.Action, refusal.Cause = managedkey.RefusedRequest, "cross_origin"
	case errors.Is(err, rights.ErrExpired):
		refusal.Cause = "expired"
	case errors.Is(err, rights.ErrAmbiguous):
		refusal.Cause = "ambiguous"
	default:
		refusal.Cause = "wrong"
	}
	a.note(r, refusal)
}

func (a *admin) note(r *http.Request, refusal managedkey.Refusal) {
	if a.Refusals == nil {
		return
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		refusal.Source = peer.Addr()
	}
	a.Refusals.Note(refusal)
}
