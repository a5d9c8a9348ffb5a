package apikey

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxScopeLen is the maximum length of a scope, in bytes.
	MaxScopeLen = 256
	// MaxIDLen is the maximum length of the text of a user, org, project or key id, in bytes.
	MaxIDLen = 256
	// MaxNameLen is the maximum length of a key's name, in bytes.
	MaxNameLen = 1024
)

// ValidScope returns why a scope is invalid, in a record as in a request. It must be non-empty
// UTF-8 of at most 256 bytes without control characters and without white space: in X-Auth-Scopes
// a space separates scopes, and "read write" must not become two. Errors never quote the text.
func ValidScope(scope string) error {
	if err := readable(scope, "scope", MaxScopeLen); err != nil {
		return err
	}
	if strings.Contains(scope, " ") || !isPrintable(scope) && strings.ContainsFunc(scope, unicode.IsSpace) {
		return errors.New("a scope has no white space")
	}
	return nil
}

// ValidID returns why the text of an id is invalid. It must be non-empty UTF-8 of at most 256
// bytes without control characters.
func ValidID(id string) error { return readable(id, "id", MaxIDLen) }

// ValidName returns why a key's name is invalid. It may be empty; otherwise it must be UTF-8 of at
// most 1024 bytes without control characters.
func ValidName(name string) error {
	if name == "" {
		return nil
	}
	return readable(name, "name", MaxNameLen)
}

// readable checks what all texts of a record have in common.
func readable(text, what string, maxLen int) error {
	switch {
	case text == "":
		return fmt.Errorf("the %s is empty", what)
	case len(text) > maxLen:
		return fmt.Errorf("the %s is longer than %d bytes", what, maxLen)
	case isPrintable(text):
		return nil
	case !utf8.ValidString(text):
		return fmt.Errorf("the %s is not valid UTF-8", what)
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("the %s has a control character", what)
	}
	return nil
}

// isPrintable reports whether a text consists of printable ASCII. Nearly all texts do, and this is
// ten times as fast as to look at each rune.
func isPrintable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// errNetwork does not quote the text, which comes from a document.
var errNetwork = errors.New("expected an IP address or a network such as 192.0.2.0/24, without a zone")

// ParseNetwork reads an entry of an allow-list or of the trusted proxies: an address (as a network
// of one) or a network in CIDR form. Host bits are cleared. IPv4 written as IPv6
// (::ffff:192.0.2.0/120) becomes IPv4, which is how Decide sees clients. Errors never quote the
// text.
func ParseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, errNetwork
	}
	if network.Addr().Is4In6() {
		if network.Bits() < mappedBits {
			// It contains more than the IPv4 addresses, so neither form can express it.
			return netip.Prefix{}, errNetwork
		}
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mappedBits)
	}
	return network.Masked(), nil
}

// NetworkText is an entry of an allow-list as people write it: the inverse of ParseNetwork, which
// makes a network of a single address.
func NetworkText(network netip.Prefix) string {
	if network.IsSingleIP() {
		return network.Addr().String()
	}
	return network.String()
}

// mappedBits is the length of ::ffff:0:0/96, which contains the IPv4 addresses (RFC 4291, section
// 2.5.5.2).
const mappedBits = 96
