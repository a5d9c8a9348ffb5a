package forwardauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
)

const HeaderForwardedFor = "X-Forwarded-For"

// ParseTrustedProxies reads addresses and networks in CIDR form. The error names
// every text that cannot be read.
func ParseTrustedProxies(texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	var mistakes []error
	for _, text := range texts {
		network, err := apikey.ParseNetwork(text)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("trusted proxy %q: %w", text, err))
			continue
		}
		networks = append(networks, network)
	}
	return networks, errors.Join(mistakes...)
}

// ClientIP is the address of the client, or the zero Addr when it is not known.
//
// A peer that is not a trusted proxy is the client, whatever it says in
// X-Forwarded-For. Behind a trusted proxy the client is the right-most hop of
// X-Forwarded-For that is not trusted, all such headers taken together in their
// order: each hop was written by the one after it, so everything left of the
// first hop that is not trusted is hearsay.
//
// The address is not known when a hop that has to be read cannot be, when every
// hop is a trusted proxy, or when a trusted proxy names none. Then a key with an
// allow-list is refused; falling back to the proxy's own address could match a
// list that was meant for something else.
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
			// What cannot be read is the zero Addr, which no network contains.
			if addr := hopAddress(hop); !contains(trusted, addr) {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// cutLastHop splits a list at its last comma. more says whether there was one.
func cutLastHop(list string) (rest, hop string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

// peerAddress reads net/http's RemoteAddr. A Unix socket's peer has no address.
func peerAddress(remote string) netip.Addr {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

// hopAddress reads one hop: an address, or an address with a port, which some
// proxies (Azure's Application Gateway) write. Anything else, and an address
// with a zone, is the zero Addr.
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

// contains reports whether one of the networks holds addr.
func contains(networks []netip.Prefix, addr netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}
