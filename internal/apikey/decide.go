package apikey

import (
	"net/netip"
	"strings"
	"time"
)

// Decide says whether a request may go ahead with the key that r describes: one
// of Disabled, Expired, Forbidden, InsufficientPermissions and Valid, namely the
// first in this order whose check fails. Neither r nor q may be nil. Both are
// only read; Decide allocates nothing.
//
// It reads no field that the change stream's filter ignores (last_used,
// usage_count): none of them is in a Record.
func Decide(r *Record, q *Request, now time.Time) Code {
	switch {
	case !r.Active || r.Defect != "" || r.UserID == "":
		return Disabled
	case !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt):
		return Expired
	case !boundTo(r.OrgID, q.OrgID) || !boundTo(r.ProjectID, q.ProjectID) || !addressAllowed(r.AllowedIPs, q.IP):
		return Forbidden
	case !holdsAll(r.Scopes, q.Scopes):
		return InsufficientPermissions
	}
	return Valid
}

// boundTo reports whether a key that is bound to bound ("": unbound) may be used
// for what the request names. A request that names nothing is not enough for a
// bound key.
func boundTo(bound, named string) bool { return bound == "" || bound == named }

// addressAllowed reports whether one of the allowed networks holds the client's
// address. No networks allow any address, known or not; with networks, an
// unknown address is refused. So is one with a zone (fe80::1%eth0): a zone names
// a link of one machine, and the same address on another link is another host.
func addressAllowed(allowed []netip.Prefix, client netip.Addr) bool {
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

// holdsAll reports whether each needed scope is held.
func holdsAll(held, needed []string) bool {
	for _, scope := range needed {
		if !Holds(held, scope) {
			return false
		}
	}
	return true
}

// Holds reports whether one of the held scopes grants scope: by being it, as
// "*", or as "prefix:*" when scope starts with "prefix:". Any other '*' is an
// ordinary character, on either side.
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
