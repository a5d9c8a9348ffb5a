package managedkey

import "net/netip"

// Refusal is a request that the admin listener has refused because of its caller.
type Refusal struct {
	// Action is RefusedLogin or RefusedRequest.
	Action string
	// Source is the address of the connection. The zero Addr is unknown.
	Source netip.Addr
	// Actor is who sent it, as far as that is known. Empty: it is not.
	Actor string
	// Cause is why.
	Cause string
}

// The actions of refusals in the audit.
const (
	// RefusedLogin: the token or the certificate is not valid. Cause is wrong, expired
	// or ambiguous.
	RefusedLogin = "login_failed"
	// RefusedRequest: the caller is known, and may not do this. Cause is the
	// operationId of what it wanted, or cross_origin.
	RefusedRequest = "denied"
)

// ipv6Client is the part of an IPv6 address that identifies a client: what one customer
// of a provider has at least, who is free to choose the rest.
const ipv6Client = 64

// ClientNetwork is what counts as one client: an IPv4 address, or the /64 of an IPv6
// address. The zero Addr has the zero Prefix.
func ClientNetwork(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() {
		bits = ipv6Client
	}
	network, _ := address.Prefix(bits) // bits are in range
	return network
}
