package apikey

import (
	"net/netip"
	"strings"
	"time"
)

// Decide decides whether a request may go ahead with the key that r describes. It returns one of
// Disabled, Expired, Forbidden, InsufficientPermissions and Valid: the code of the first check, in
// this order, that fails. Neither r nor q may be nil. Decide modifies neither, and allocates
// nothing.
//
// It reads nothing but the Record, which depends on no field whose updates the change stream's filter
// drops (keystore.Schema.DecodedFields).
func Decide(r *Record, q *Request, now time.Time) Code {
	switch {
	case !r.Active || r.Defect != "" || r.UserID == "":
		return Disabled
	case !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt):
		return Expired
	case !isBindingMet(r.OrgID, q.OrgID, q.RequireOrg), !isBindingMet(r.ProjectID, q.ProjectID, q.RequireProject),
		!isAddressAllowed(r.AllowedIPs, q.IP):
		return Forbidden
	case !holdsAll(r.Scopes, q.Scopes):
		return InsufficientPermissions
	}
	return Valid
}

// isBindingMet reports whether a key that is bound to bound ("": not bound) may be used for what the
// request names ("": it names none). A request that names none is for the key's own, unless the
// request must name what it is for.
func isBindingMet(bound, named string, required bool) bool {
	return bound == "" || bound == named || named == "" && !required
}

// isAddressAllowed reports whether one of the allowed networks contains the client's address. If
// there are no networks, any address is allowed, known or not. If there are, an unknown address is
// refused. So is one with a zone (fe80::1%eth0): a zone names a link of one machine, and the same
// address on another link is another host.
func isAddressAllowed(allowed []netip.Prefix, client netip.Addr) bool {
	if len(allowed) == 0 {
		return true
	}
	// A dual-stack listener sees IPv4 clients as ::ffff:a.b.c.d.
	client = client.Unmap()
	for _, network := range allowed {
		if network.Contains(client) {
			return true
		}
	}
	return false
}

// holdsAll reports whether the key has each needed scope.
func holdsAll(held, needed []string) bool {
	for _, scope := range needed {
		if !Holds(held, scope) {
			return false
		}
	}
	return true
}

// Holds reports whether one of the key's scopes, held, grants scope: it is equal, or "*", or
// "prefix:*" when scope starts with "prefix:". Any other '*' is an ordinary character, on either
// side.
func Holds(held []string, scope string) bool {
	for _, h := range held {
		if h == scope || h == "*" {
			return true
		}
		if stem, found := strings.CutSuffix(h, ":*"); found && stem != "" && strings.HasPrefix(scope, h[:len(h)-1]) {
			return true
		}
	}
	return false
}
