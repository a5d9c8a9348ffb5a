package forwardauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
)

// HeaderForwardedFor lists the hops of a request.
const HeaderForwardedFor = "X-Forwarded-For"

// ParseTrustedProxies reads addresses and networks in CIDR form. The error names
// every text that cannot be read.
func ParseTrustedProxies(texts []string) ([]netip.Prefix, error) {
	return ParseNetworks("trusted proxy", texts)
}

// ParseNetworks is ParseTrustedProxies for others; the error calls each text by what it
// is.
func ParseNetworks(what string, texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	var mistakes []error
	for _, text := range texts {
		network, err := apikey.ParseNetwork(text)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s %q: %w", what, text, err))
			continue
		}
		networks = append(networks, network)
	}
	return networks, errors.Join(mistakes...)
}

// ClientIP is the address of the client, or the zero Addr if it is not known.
//
// A peer that is not a trusted proxy is the client, whatever X-Forwarded-For
// says. Behind a trusted proxy, the client is the right-most hop of
// X-Forwarded-For that is not trusted, all such headers taken together in their
// order: the proxy after each hop wrote it, so everything left of the first
// untrusted hop may be forged.
//
// The address is not known if a hop cannot be parsed, if every hop is a trusted
// proxy, or if a trusted proxy names none. A key with an allow-list is refused
// then: falling back to the address of the proxy could match a list that was
// meant for something else.
func ClientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer := peerAddress(r.RemoteAddr)
	if !contains(trusted, peer) {
		return peer
	}
	headers := r.Header[HeaderForwardedFor]
	for i := len(headers) - 1; i >= 0; i-- {
		rest, more := headers[i], true
		for more {
			var hop string
			rest, hop, more = cutLastHop(rest)
			// A hop that cannot be parsed is the zero Addr, which no network contains.
			if addr := hopAddress(hop); !contains(trusted, addr) {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// cutLastHop splits a list at its last comma. more reports whether there was one.
func cutLastHop(list string) (rest, hop string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

// peerAddress parses net/http's RemoteAddr. The peer of a Unix socket has no
// address.
func peerAddress(remote string) netip.Addr {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

// hopAddress parses one hop: an address, or an address with a port, which some
// proxies (Azure's Application Gateway) write. Anything else, and an address with
// a zone, is the zero Addr.
func hopAddress(hop string) netip.Addr {
	hop = strings.Trim(hop, " \t")
	addr, err := netip.ParseAddr(hop)
	if err != nil {
		withPort, err := netip.ParseAddrPort(hop)
		if err != nil {
			return netip.Addr{}
		}
		addr = withPort.Addr()
	}
	if addr.Zone() != "" {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// contains reports whether one of the networks contains addr.
func contains(networks []netip.Prefix, addr netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}
