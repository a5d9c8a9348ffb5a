package tokens

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/rights"
)

// san is a subject alternative name (RFC 5280, section 4.2.1.6): a URI, such as a
// SPIFFE id, or a DNS name. The kind counts: a CA may restrict what it signs by kind,
// so a DNS name must not match where a URI is meant.
type san struct{ uri, dns string }

var errSAN = errors.New("san must be a URI with a host, such as spiffe://example.org/billing, or the name of a host without a wildcard")

func parseSAN(text string) (san, error) {
	if strings.Contains(text, "://") {
		uri, err := url.Parse(text)
		if err != nil || uri.Scheme == "" || uri.Host == "" || uri.String() != text {
			return san{}, errSAN
		}
		return san{uri: text}, nil
	}
	name := strings.ToLower(text)
	if name == "" || strings.ContainsAny(name, "*/:@=") || !isPrintable(name) {
		return san{}, errSAN
	}
	return san{dns: name}, nil
}

// isIn reports whether a certificate has this name.
func (s san) isIn(certificate *x509.Certificate) bool {
	if s.uri != "" {
		for _, uri := range certificate.URIs {
			if uri.String() == s.uri {
				return true
			}
		}
		return false
	}
	for _, name := range certificate.DNSNames {
		if s.dns != "" && strings.ToLower(name) == s.dns {
			return true
		}
	}
	return false
}

// Certificate is whose certificate this is, which the listener has verified. Nil: the
// client has none. The error is rights.ErrAbsent for one that names no caller, because
// the listener may require certificates of everyone, beside a token. It is
// rights.ErrAmbiguous or rights.ErrExpired otherwise: a connection may outlive its
// certificate.
func (s *Set) Certificate(certificate *x509.Certificate) (rights.Identity, error) {
	if certificate == nil {
		return rights.Identity{}, rights.ErrAbsent
	}
	var found *entry
	entries := *s.entries.Load()
	for i := range entries {
		switch e := &entries[i]; {
		case !e.san.isIn(certificate):
		case found != nil:
			return rights.Identity{}, rights.ErrAmbiguous
		default:
			found = e
		}
	}
	switch now := s.now(); {
	case found == nil:
		return rights.Identity{}, rights.ErrAbsent
	case found.isExpired(now) || !now.Before(certificate.NotAfter.Add(time.Second)):
		// NotAfter is inclusive, in whole seconds.
		s.expired.Inc()
		return found.identity, rights.ErrExpired
	}
	return found.identity, nil
}
