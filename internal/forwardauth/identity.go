package forwardauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
)

// identityNames are the headers of a 200 that say for whom the key acts.
var identityNames = [...]string{HeaderKeyID, HeaderUserID, HeaderOrgID, HeaderProjectID, HeaderScopes}

// IdentityHeaders are the names of all headers that say for whom a key acts.
func IdentityHeaders() []string { return slices.Clone(identityNames[:]) }

// identitySet is a set of identityNames: bit i stands for name i.
type identitySet uint8

func (s identitySet) has(i int) bool { return s&(1<<i) != 0 }

// Identity says which identity headers a 200 has. The zero value: those that have a
// value. ParseIdentity makes others.
type Identity struct {
	// chosen are in every 200, and no others have a value. Empty: none was chosen.
	chosen identitySet
}

// ParseIdentity reads the names of the identity headers that every 200 has, empty if
// there is no value. The case of letters does not matter, and repetitions count once.
// An empty list is the zero value. The error names every text that is not one of them.
func ParseIdentity(names []string) (Identity, error) {
	var identity Identity
	var mistakes []error
	for _, name := range names {
		i := slices.Index(identityNames[:], textproto.CanonicalMIMEHeaderKey(name))
		if i < 0 {
			mistakes = append(mistakes, fmt.Errorf("identity header %q: it must be one of %s", name, strings.Join(identityNames[:], ", ")))
			continue
		}
		identity.chosen |= 1 << i
	}
	return identity, errors.Join(mistakes...)
}

// value is that of header i, or empty if there is none to send.
func (n Identity) value(i int, r *apikey.Record) string {
	if n.chosen != 0 && !n.chosen.has(i) {
		return ""
	}
	switch identityNames[i] {
	case HeaderKeyID:
		return escape(r.KeyID)
	case HeaderUserID:
		return escape(r.UserID)
	case HeaderOrgID:
		return escape(r.OrgID)
	case HeaderProjectID:
		return escape(r.ProjectID)
	default:
		return joinScopes(r.Scopes)
	}
}

// setIdentity sets the headers that say for whom the key acts, in the answer to a
// request with the header asked. A client may have sent headers with these names, and
// none of them may reach the API as keytail's: docs/http.md#identity-headers has the
// argument why that holds for a header without a value that is left out here.
func (a *Authority) setIdentity(v *values, header, asked http.Header, r *apikey.Record) {
	var absent identitySet
	for i, name := range identityNames {
		text := a.identity.value(i, r)
		if text == "" && !a.identity.chosen.has(i) {
			absent |= 1 << i
			if !a.overwrites(asked, name) {
				continue
			}
		}
		v.set(header, name, text)
	}
	if absent != 0 && !a.removesAbsent {
		header[HeaderEnvoyRemove] = removals[absent]
	}
}

// overwrites reports whether an answer needs a header even without a value, by the
// request that the proxy sent: it contains the header, so the proxy has not deleted the
// client's; or the proxy is of the kind that copies headers by name (Caddy before 2.10
// invents a value for one that is not there).
func (a *Authority) overwrites(asked http.Header, name string) bool {
	if a.removesAbsent {
		return false
	}
	_, sent := asked[name]
	_, copies := asked[headerForwardedURI]
	return sent || copies
}

// headerForwardedURI is in the requests of forward-auth of Caddy and Traefik, which
// overwrite or delete a client's own. nginx and Envoy do not send it.
const headerForwardedURI = "X-Forwarded-Uri"

// HeaderEnvoyRemove lists the headers without a value, which Envoy removes from the
// client's request if it asked over HTTP. Other proxies ignore it.
const HeaderEnvoyRemove = "X-Envoy-Auth-Headers-To-Remove"

// removals maps a set to the values of HeaderEnvoyRemove that name it. Do not modify
// them. Their capacity is one, so that Add copies them.
var removals = func() (all [1 << len(identityNames)][]string) {
	for set := range all {
		var names []string
		for i, name := range identityNames {
			if identitySet(set).has(i) {
				names = append(names, strings.ToLower(name))
			}
		}
		all[set] = []string{strings.Join(names, ",")}
	}
	return all
}()
